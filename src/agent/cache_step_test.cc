// SPDX-License-Identifier: MIT
// Cache instructions of whole tasks, against a store in memory.
#include <map>

#include "agent/testing/task_fixture.h"
#include "archive/codec.h"
#include "archive/tar.h"
#include "base/digest.h"

namespace cirrus::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class Caches : public testing::TaskFixture {
 protected:
  wire::CacheInstruction& add_cache(const std::string& name,
                                    const std::vector<std::string>& folders) {
    wire::Command& command = *bootstrap.mutable_commands()->add_commands();
    command.set_name(name);
    wire::CacheInstruction& cache = *command.mutable_cache_instruction();
    if (folders.size() == 1) cache.set_folder(folders.front());
    if (folders.size() > 1) cache.mutable_folders()->Assign(folders.begin(), folders.end());
    return cache;
  }
  wire::Command& add_upload(const std::string& name) {
    wire::Command& command = *bootstrap.mutable_commands()->add_commands();
    command.set_name("Upload '" + name + "' cache");
    command.mutable_upload_cache_instruction()->set_cache_name(name);
    return command;
  }
  /// The next task: nothing is left of the one before but what was stored.
  void next_task() {
    bootstrap.mutable_commands()->clear_commands();
    EXPECT_TRUE(os::remove_tree(work()).ok());
    new_gateway();
  }
  std::vector<std::string> keys() {
    return blobs.state().with([](auto& state) {
      std::vector<std::string> names;
      for (const auto& [key, bytes] : state.caches) names.push_back(key);
      return names;
    });
  }
  int written() {
    return blobs.state().with([](auto& state) { return state.written; });
  }
  std::string upload_log(const std::string& name) { return log("Upload '" + name + "' cache"); }
};

std::string archive_of(const std::map<std::string, std::string>& files) {
  std::string out;
  archive::Compressor compressor([&out](std::string_view bytes) -> Status {
    out += bytes;
    return {};
  });
  archive::TarWriter tar([&](std::string_view bytes) { return compressor.write(bytes); });
  for (const auto& [name, content] : files) {
    archive::TarEntry entry;
    entry.name = name;
    entry.size = content.size();
    EXPECT_TRUE(tar.begin(entry).ok());
    EXPECT_TRUE(tar.write(content).ok());
  }
  EXPECT_TRUE(tar.finish().ok());
  EXPECT_TRUE(compressor.finish().ok());
  return out;
}

TEST_F(Caches, AreStoredByOneTaskAndRestoredByTheNext) {
  variable("CIRRUS_TASK_NAME") = "build";
  variable("CI_NODE_INDEX") = "3";
  const auto steps = [this] {
    add_cache("deps", {"deps"}).add_populate_scripts("mkdir deps && echo one > deps/a");
    add_script("main", {"cat deps/a"});
    add_upload("deps");
  };
  steps();
  run();
  const std::string key = "deps-" + sha256_hex("build3");
  EXPECT_THAT(log("deps"), HasSubstr("Cache miss for '" + key + "'"));
  EXPECT_THAT(upload_log("deps"), HasSubstr("Stored the cache '" + key + "'"));
  EXPECT_THAT(keys(), ElementsAre(key));
  const auto attempts = gateway().events().back().finished().cacheretrievalattempts();
  ASSERT_EQ(attempts.count(key), 1U);
  EXPECT_GT(attempts.at(key).miss().size_bytes(), 0U);
  EXPECT_GT(attempts.at(key).miss().populated_in_nanos(), 0U);

  next_task();
  steps();
  run();
  EXPECT_THAT(log("deps"), AllOf(HasSubstr("Cache hit for '" + key + "'"), HasSubstr("task 41"),
                                 Not(HasSubstr("mkdir"))));
  EXPECT_THAT(log("main"), EndsWith("one\n"));
  EXPECT_EQ(written(), 1);
  EXPECT_GT(
      gateway().events().back().finished().cacheretrievalattempts().at(key).hit().size_bytes(), 0U);
}

// Source: conformance list, row 14; and cache keys.
TEST_F(Caches, KeysAreTheReferences) {
  variable("CIRRUS_LOG_TIMESTAMP") = "true";
  variable("SOME_TOKEN") = "hunter22";
  variable("CIRRUS_TASK_NAME") = "t";
  add_cache("script", {"a"}).add_fingerprint_scripts("echo lock; echo hunter22");
  add_cache("key", {"a"}).set_fingerprint_key("v1 of $HOME?");
  add_cache("plain", {"a"});
  add_script("make", {"mkdir a; echo x > a/x"});
  for (const char* name : {"script", "key", "plain"}) add_upload(name);
  run();
  // The output as it is: with the line that was run, without stamps and with its secrets.
  const std::string output = "echo lock; echo hunter22\nlock\nhunter22\n";
  EXPECT_THAT(keys(), ElementsAre("plain-" + sha256_hex("t"), "script-" + sha256_hex(output),
                                  "v1 of $HOME?"));
  EXPECT_THAT(log("script"), AllOf(StartsWith("["), Not(HasSubstr("hunter22"))));
}

TEST_F(Caches, AFailingFingerprintFailsTheStep) {
  add_cache("c", {"a"}).add_fingerprint_scripts("exit 7");
  add_upload("c");
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("c=FAILED", "Upload 'c' cache=SKIPPED"));
  EXPECT_THAT(log("c"), HasSubstr("Exit status: 7"));
}

TEST_F(Caches, AFailingPopulateScriptFailsTheStep) {
  add_cache("c", {"a"}).add_populate_scripts("false");
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("c=FAILED"));
}

TEST_F(Caches, AreStoredAgainOnlyWhenTheyChanged) {
  const auto task = [this](const std::string& line, bool reupload) {
    next_task();
    wire::CacheInstruction& cache = add_cache("c", {"a"});
    cache.set_fingerprint_key("k");
    cache.set_reupload_on_changes(reupload);
    add_script("main", {line});
    add_upload("c");
    run();
  };
  task("mkdir a; echo 1 > a/one; echo 2 > a/two", true);
  EXPECT_EQ(written(), 1);
  task("touch a/one; cp a/two x; cat x > a/two", true);  // the same contents
  EXPECT_EQ(written(), 1);
  EXPECT_THAT(upload_log("c"), HasSubstr("has not changed"));
  task("echo changed > a/one", false);
  EXPECT_EQ(written(), 1);
  EXPECT_THAT(upload_log("c"), HasSubstr("not stored again"));
  task("echo 9 > a/one; rm a/two; echo 3 > a/three", true);
  EXPECT_EQ(written(), 2);
  EXPECT_THAT(upload_log("c"), AllOf(HasSubstr("created  three"), HasSubstr("modified one"),
                                     HasSubstr("deleted  two")));
  task("cat a/*", true);
  EXPECT_THAT(log("main"), HasSubstr("9\n3\n"));
}

TEST_F(Caches, NothingToStoreIsNoFailure) {
  add_cache("missing", {"nowhere"});
  add_cache("empty", {"void"});
  add_script("main", {"mkdir -p void/sub"});
  add_upload("missing");
  add_upload("empty");
  add_upload("unknown");
  run();
  EXPECT_THAT(gateway().statuses(),
              ElementsAre("missing=COMPLETED", "empty=COMPLETED", "main=COMPLETED",
                          "Upload 'missing' cache=COMPLETED", "Upload 'empty' cache=COMPLETED",
                          "Upload 'unknown' cache=FAILED"));
  EXPECT_THAT(upload_log("missing"), HasSubstr("There is nothing in "));
  EXPECT_THAT(upload_log("unknown"), HasSubstr("No cache 'unknown' was restored in this task"));
  EXPECT_THAT(keys(), IsEmpty());
}

TEST_F(Caches, SeveralFoldersAndPatterns) {
  const auto steps = [this](const std::string& line) {
    wire::CacheInstruction& cache = add_cache("c", {"one", "sub/*/target", "sub/x/target/deep"});
    cache.set_fingerprint_key("k");
    add_script("main", {line});
    add_upload("c");
  };
  steps(
      "mkdir -p one sub/x/target/deep sub/y/target; "
      "for d in one sub/x/target/deep sub/y/target sub/y .; do echo $d > $d/f; done");
  run();
  next_task();
  steps("find . -type f | sort");
  run();
  EXPECT_THAT(log("main"), EndsWith("\n./one/f\n./sub/x/target/deep/f\n./sub/y/target/f\n"));
}

// Source: conformance list, row 15.
TEST_F(Caches, AFolderOutsideOfTheWorkingDirectoryFails) {
  add_cache("c", {"one", "/tmp/elsewhere"});
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("c=FAILED"));
  EXPECT_THAT(log("c"), HasSubstr("'/tmp/elsewhere' is outside of the working directory"));
}

TEST_F(Caches, ADamagedOneIsAMissAndIsReplacedAndTheCheckoutStays) {
  blobs.state().with([](auto& state) { state.caches["k"] = "<html>gateway timeout</html>"; });
  add_script("checkout", {"echo mine > source.c"});
  wire::CacheInstruction& cache = add_cache("c", {"a", "b"});
  cache.set_fingerprint_key("k");
  cache.add_populate_scripts("mkdir a; echo fresh > a/x");
  add_script("main", {"cat source.c a/x"});
  add_upload("c");
  run();
  EXPECT_THAT(log("c"), AllOf(HasSubstr("was not restored"), HasSubstr("the archive is cut off")));
  EXPECT_THAT(log("main"), EndsWith("mine\nfresh\n"));
  EXPECT_THAT(upload_log("c"), HasSubstr("Stored the cache"));
  EXPECT_EQ(written(), 1);
  EXPECT_THAT(gateway().events().back().finished().cacheretrievalattempts().at("k").error(),
              HasSubstr("the archive is cut off"));
}

// T01: the task sees a refusal, not somebody else's file.
TEST_F(Caches, T01_AHostileOneIsRefused) {
  blobs.state().with([](auto& state) { state.caches["k"] = archive_of({{"a/../../evil", "x"}}); });
  add_cache("c", {"a"}).set_fingerprint_key("k");
  run();
  EXPECT_THAT(log("c"), HasSubstr("leads outside"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("c=COMPLETED"));
  EXPECT_FALSE(fs::exists(work() / "evil"));
  EXPECT_FALSE(fs::exists(work().parent_path() / "evil"));
}

// What goes wrong with names of any bytes must not keep the task's report from being read.
TEST_F(Caches, T01_NamesThatAreNoTextAreSaidAsText) {
  blobs.state().with([](auto& state) { state.caches["k"] = archive_of({{"../caf\xE9", "x"}}); });
  add_cache("c", {"a"}).set_fingerprint_key("k");
  add_cache("own", {"b"}).set_fingerprint_key("own");
  add_script("main", {"mkdir b; touch \"b/$(printf 'caf\\351')\""});
  add_upload("own");
  run();
  EXPECT_THAT(gateway().events().back().finished().cacheretrievalattempts().at("k").error(),
              HasSubstr("../caf\xEF\xBF\xBD"));
  EXPECT_THAT(keys(), ::testing::Contains("own"));
}

TEST_F(Caches, TheNearestOneServesOnAMissAndTheNewOneIsStored) {
  blobs.state().with([](auto& state) { state.caches["c-old"] = archive_of({{"x", "near"}}); });
  wire::CacheInstruction& cache = add_cache("c", {"a"});
  cache.add_fingerprint_scripts("echo new");
  cache.set_optimistically_restore_on_miss(true);
  cache.add_populate_scripts("echo never");
  add_script("main", {"cat a/x"});
  add_upload("c");
  run();
  EXPECT_THAT(log("c"), AllOf(HasSubstr("the nearest one is 'c-old'"), Not(HasSubstr("never"))));
  EXPECT_THAT(log("main"), EndsWith("near"));
  EXPECT_EQ(keys().size(), 2U);
}

TEST_F(Caches, AnotherTaskThatWasFasterIsNotOverwritten) {
  add_cache("c", {"a"}).set_fingerprint_key("k");
  add_script("main",
             {"mkdir a; echo x > a/x; touch ready; while [ ! -e go ]; do sleep 0.01; done"});
  add_upload("c");
  std::thread other([this] {
    while (!fs::exists(work() / "ready")) wait_for(StopToken(), std::chrono::milliseconds(1));
    blobs.state().with([](auto& state) { state.caches["k"] = archive_of({{"x", "theirs"}}); });
    EXPECT_TRUE(os::write_file(work() / "go", "").ok());
  });
  run();
  other.join();
  EXPECT_THAT(upload_log("c"), HasSubstr("Task 41 has stored the cache 'k' meanwhile"));
  EXPECT_EQ(written(), 0);
}

TEST_F(Caches, AStoreThatIsAwayIsAskedAgain) {
  blobs.state().with([](auto& state) {
    state.caches["k"] = archive_of({{"x", "kept"}});
    state.failures = {error(Code::Unavailable, "away"), error(Code::Unavailable, "away")};
  });
  wire::CacheInstruction& cache = add_cache("c", {"a"});
  cache.set_fingerprint_key("k");
  cache.set_reupload_on_changes(true);
  add_script("main", {"cat a/x; head -c 200000 /dev/urandom > a/y"});
  add_upload("c");
  blobs.state().with([](auto& state) { state.break_after = {100'000}; });
  run();
  EXPECT_THAT(log("main"), HasSubstr("kept"));
  EXPECT_EQ(written(), 1);
}

TEST_F(Caches, AStoreThatRefusesDoesNotFailTheTask) {
  const Error refusal = error(Code::ResourceExhausted, "the store is full");
  blobs.state().with([&](auto& state) { state.failures = {refusal}; });
  add_cache("c", {"a"}).set_fingerprint_key("k");
  add_script("main", {"mkdir a; echo x > a/x"});
  add_script("refuse", {"true"});
  add_upload("c");
  run();
  EXPECT_THAT(log("c"), HasSubstr("the store is full"));
  EXPECT_THAT(gateway().statuses(), Not(::testing::Contains(HasSubstr("FAILED"))));
}

TEST_F(Caches, SaveOnAlwaysStoresAfterAFailureToo) {
  for (const bool always : {false, true}) {
    SCOPED_TRACE(always);
    next_task();
    add_cache("c", {"a"}).set_fingerprint_key(always ? "always" : "success");
    if (always) {
      auto& command = *bootstrap.mutable_commands()->mutable_commands(0);
      (*command.mutable_properties())["save_on"] = "always";
    }
    add_script("main", {"mkdir a; echo x > a/x; false"});
    add_upload("c");
    run();
  }
  EXPECT_THAT(keys(), ElementsAre("always"));
}

TEST_F(Caches, UnreadableFilesAreNamedAndNothingIsStored) {
  add_cache("c", {"a"}).set_fingerprint_key("k");
  // A directory deeper than any cache: root, too, cannot pack it.
  add_script("main", {"mkdir a; cd a; for i in $(seq 300); do mkdir d; cd d; done; touch x"});
  add_upload("c");
  run();
  EXPECT_THAT(upload_log("c"), AllOf(HasSubstr("was not stored"), HasSubstr("directories deep")));
  EXPECT_THAT(keys(), IsEmpty());
  EXPECT_THAT(gateway().statuses(), Not(::testing::Contains(HasSubstr("FAILED"))));
}

}  // namespace
}  // namespace cirrus::agent
