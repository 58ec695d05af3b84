// SPDX-License-Identifier: MIT
// Artifacts instructions of whole tasks, against a store in memory.
#include "agent/testing/task_fixture.h"

namespace cirrus::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class Artifacts : public testing::TaskFixture {
 protected:
  wire::ArtifactsInstruction& add_artifacts(const std::string& name,
                                            const std::vector<std::string>& paths) {
    wire::Command& command = *bootstrap.mutable_commands()->add_commands();
    command.set_name(name);
    command.mutable_artifacts_instruction()->mutable_paths()->Assign(paths.begin(), paths.end());
    return *command.mutable_artifacts_instruction();
  }
  std::map<std::string, std::string> stored(const std::string& name) {
    return blobs.state().with([&](auto& state) { return state.artifacts[name]; });
  }
};

// Source: conformance list, row 19; and artifacts.
TEST_F(Artifacts, AreFoundByPatternAndStoredByRelativePath) {
  variable("REPORTS") = "reports";
  add_script("main", {"mkdir -p reports/sub 'sp ace'; echo '<a/>' > reports/a.xml",
                      "echo '<b/>' > reports/sub/b.xml; : > reports/empty; echo 3 > 'sp ace/c'",
                      "ln -s nowhere reports/dangling; mkfifo reports/pipe"});
  wire::ArtifactsInstruction& xml = add_artifacts("xml", {"**/*.xml", "$REPORTS/a.xml"});
  xml.set_type("text/xml");
  xml.set_format("junit");
  add_artifacts("all", {"reports/*", (work() / "sp ace/c").string()});
  add_artifacts("none", {"*.none"});
  run();
  EXPECT_THAT(stored("xml"),
              ElementsAre(Pair("reports/a.xml", "<a/>\n"), Pair("reports/sub/b.xml", "<b/>\n")));
  EXPECT_THAT(stored("all"), ElementsAre(Pair("reports/a.xml", "<a/>\n"), Pair("reports/empty", ""),
                                         Pair("sp ace/c", "3\n")));
  EXPECT_THAT(stored("none"), IsEmpty());
  const auto sets = blobs.state().with([](auto& state) { return state.sets; });
  ASSERT_EQ(sets.size(), 3U);
  EXPECT_EQ(sets[0].type, "text/xml");
  EXPECT_EQ(sets[0].format, "junit");
  EXPECT_THAT(log("xml"), HasSubstr("Stored 2 artifacts (10 bytes)"));
  EXPECT_THAT(
      log("all"),
      AllOf(HasSubstr("Passed over reports/dangling: a link that leads nowhere"),
            HasSubstr("Passed over reports/pipe: no file"), HasSubstr("Passed over 1 directory")));
  EXPECT_THAT(log("none"), HasSubstr("Nothing matches '*.none'"));
  EXPECT_THAT(gateway().statuses(),
              ElementsAre("main=COMPLETED", "xml=COMPLETED", "all=COMPLETED", "none=COMPLETED"));
}

TEST_F(Artifacts, WithAFormatBecomeAnnotations) {  // T06: masked as logs are
  variable("X_TOKEN") = "hunter2-hunter2";
  add_script("main",
             {"mkdir -p src; touch src/A.java",
              "printf '<testsuite><testcase name=\"ok\"/><testcase name=\"bad\">"
              "<failure>at A.java:3 %s</failure></testcase></testsuite>' \"$X_TOKEN\" > r.xml"});
  add_artifacts("junit", {"r.xml"}).set_format("junit");
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=COMPLETED", "junit=COMPLETED"));
  EXPECT_THAT(log("junit"), HasSubstr("Annotations: 1; 1 passed.\n"));
  std::vector<wire::Annotation> found;
  for (const auto& event : gateway().events()) {
    found.insert(found.end(), event.annotations().annotations().begin(),
                 event.annotations().annotations().end());
  }
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].message(), "bad");
  EXPECT_EQ(found[0].raw_details(), "at A.java:3 HIDDEN-BY-CIRRUS-CI");
  EXPECT_EQ(found[0].file_location().path(), "src/A.java");
  EXPECT_EQ(found[0].file_location().start_line(), 3);
}

TEST_F(Artifacts, ThatCannotBeReadAsTheirFormatFailTheStepAfterTheyAreStored) {
  add_script("main", {"echo '<testsuite>' > r.xml"});
  add_artifacts("junit", {"r.xml"}).set_format("junit");
  run();
  EXPECT_THAT(stored("junit"), ElementsAre(Pair("r.xml", "<testsuite>\n")));
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=COMPLETED", "junit=FAILED"));
  EXPECT_THAT(log("junit"), HasSubstr("No annotations: reading r.xml: the XML cannot be read"));
}

TEST_F(Artifacts, OutsideOfTheWorkingDirectoryIsAFailure) {
  for (const char* pattern : {"/etc/hostname", "../*", "a/../../x/../work/../*"}) {
    SCOPED_TRACE(pattern);
    bootstrap.mutable_commands()->clear_commands();
    new_gateway();
    add_artifacts("out", {pattern});
    run();
    EXPECT_THAT(log("out"), HasSubstr("outside of the working directory"));
    EXPECT_THAT(gateway().statuses(), ElementsAre("out=FAILED"));
  }
  EXPECT_THAT(stored("out"), IsEmpty());
}

TEST_F(Artifacts, ANameThatIsNoTextIsAFailureThatSaysSo) {
  add_script("main", {"mkdir out; touch out/fine \"out/$(printf 'caf\\351')\""});
  add_artifacts("a", {"out/*"});
  run();
  EXPECT_THAT(log("a"), HasSubstr("the name 'out/caf\xEF\xBF\xBD' is not UTF-8"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=COMPLETED", "a=FAILED"));
}

TEST_F(Artifacts, AnAnnotationOfAFileWhoseNameIsNoTextIsKept) {
  add_script("main", {"mkdir src; touch \"src/$(printf 'caf\\351')\"",
                      "printf '<testsuite><testcase name=\"bad\" file=\"A.java\" line=\"3\">"
                      "<failure>no</failure></testcase></testsuite>' > r.xml"});
  add_artifacts("junit", {"r.xml"}).set_format("junit");
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=COMPLETED", "junit=COMPLETED"));
}

TEST_F(Artifacts, ABadPatternIsAFailureThatSaysWhy) {
  add_artifacts("bad", {"[a"});
  run();
  EXPECT_THAT(log("bad"), HasSubstr("without its ']'"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("bad=FAILED"));
}

TEST_F(Artifacts, ABrokenUploadStartsOver) {
  blobs.state().with([](auto& state) { state.break_after = {10, 100'000}; });
  add_script("main", {"head -c 300000 /dev/zero > zeros; echo x > x"});
  add_artifacts("a", {"*"});
  run();
  EXPECT_EQ(stored("a")["zeros"].size(), 300'000U);
  EXPECT_EQ(blobs.state().with([](auto& state) { return state.written; }), 1);
}

TEST_F(Artifacts, ARefusalIsAFailureAfterTwoTries) {
  const Error refusal = error(Code::ResourceExhausted, "the store is full");
  blobs.state().with([&](auto& state) { state.failures = {refusal}; });
  add_script("main", {"echo x > x"});
  add_artifacts("first", {"x"});
  run();
  EXPECT_THAT(stored("first"), ElementsAre(Pair("x", "x\n")));
  bootstrap.mutable_commands()->clear_commands();
  new_gateway();
  blobs.state().with([&](auto& state) { state.failures = {refusal, refusal}; });
  add_artifacts("second", {"x"});
  run();
  EXPECT_THAT(log("second"), HasSubstr("the store is full"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("second=FAILED"));
}

TEST_F(Artifacts, TimeIsUpAlsoWhileTheStoreIsAway) {
  bootstrap.mutable_commands()->set_timeout_in_seconds(1);
  blobs.state().with(
      [](auto& state) { state.failures.assign(1000, error(Code::Unavailable, "away")); });
  add_script("main", {"echo x > x"});
  add_artifacts("a", {"x"});
  run();
  EXPECT_THAT(log("a"), HasSubstr("Timed out!"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=COMPLETED", "a=FAILED"));
}

}  // namespace
}  // namespace cirrus::agent
