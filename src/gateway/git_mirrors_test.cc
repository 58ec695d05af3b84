// SPDX-License-Identifier: MIT
#include "gateway/git_mirrors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/task_paths.h"
#include "os/files.h"
#include "os/process.h"
#include "os/temp_dir.h"
#include "rpc/testing/pipe_channel.h"

namespace cirrus::gateway {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class GitMirrorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(GitMirrors::possible()) << "git is needed";
    request_.url.clean = "http://127.0.0.1:1/owner/name.git";
    request_.url.origin = "http://127.0.0.1:1";
    request_.ref = "refs/heads/main";
    request_.tracking = "refs/remotes/origin/main";
  }
  std::string git(std::vector<std::string> arguments) {
    os::SpawnOptions options;
    options.argv = std::move(arguments);
    options.argv.insert(options.argv.begin(), "git");
    const Result<os::CommandOutput> ended = os::run_command(
        options, "", {}, std::chrono::steady_clock::now() + std::chrono::seconds(20));
    EXPECT_TRUE(ended.ok() && ended.value().status.success())
        << (ended.ok() ? ended.value().errors : ended.error().to_string());
    return ended.ok() ? ended.value().output : "";
  }
  /// A mirror as `fetch` leaves it, with one commit; its hash.
  std::string make_mirror() {
    const fs::path mirror =
        directory_.path() / "mirrors" / (file_name_of_step(request_.url.clean) + ".full");
    EXPECT_TRUE(os::make_directories(mirror, 0700).ok());
    git({"init", "--quiet", "--bare", mirror.string()});
    const std::string tree =
        git({"-C", mirror.string(), "hash-object", "-t", "tree", "-w", "/dev/null"});
    std::string commit = git({"-C", mirror.string(), "-c", "user.name=a", "-c", "user.email=a@b",
                              "commit-tree", "-m", "first", tree.substr(0, 40)});
    commit.resize(40);
    EXPECT_TRUE(os::write_file(mirror.string() + ".used", "").ok());
    return commit;
  }

  os::TempDir directory_ = std::move(os::TempDir::create("mirrors")).value();
  GitMirrors mirrors_{{.directory = directory_.path() / "mirrors"}};
  model::CloneRequest request_;
};

TEST_F(GitMirrorsTest, TakeAddressesOfOtherMachinesOnly) {
  EXPECT_TRUE(GitMirrors::takes("https://forge.example/a/b.git"));
  EXPECT_TRUE(GitMirrors::takes("http://forge.example/a/b.git"));
  for (const char* bad : {"", "/etc", "file:///etc", "ssh://h/x", "git@h:x", "ext::sh -c id",
                          "https://h/a b", "https://h/a\nb", "HTTPS://h/a"}) {
    EXPECT_FALSE(GitMirrors::takes(bad)) << bad;
  }
}

TEST_F(GitMirrorsTest, SayWhatGitSaysAndKeepNothingOfAFirstFailure) {
  std::string words;
  const Status fetched =
      mirrors_.fetch(request_, {}, [&words](std::string_view more) { words += more; });
  ASSERT_FALSE(fetched.ok());
  EXPECT_EQ(fetched.error().code(), Code::FailedPrecondition);
  EXPECT_THAT(fetched.error().message(), HasSubstr("127.0.0.1"));
  EXPECT_THAT(words, HasSubstr("fatal: "));
  EXPECT_TRUE(fs::is_empty(directory_.path() / "mirrors"));
  request_.url.clean = "file:///etc";
  EXPECT_EQ(mirrors_.fetch(request_, {}, [](auto) {}).error().code(), Code::InvalidArgument);
}

TEST_F(GitMirrorsTest, ServeCommitsThatNoRefLeadsTo) {
  const std::string commit = make_mirror();
  rpc::testing::PipePair pipes = rpc::testing::make_pipe_pair();
  Status served;
  Thread server([&] {
    served = mirrors_.serve(request_, "version=2", *pipes.server, {});
    pipes.server->close();
  });
  // What a client says to fetch one commit, in the second version of the protocol.
  const auto line = [](const std::string& text) {
    return fmt::format("{:04x}{}", text.size() + 4, text);
  };
  ASSERT_TRUE(pipes.client
                  ->write(line("command=fetch\n") + "0001" + line("want " + commit + "\n") +
                          line("done\n") + "0000" + "0000")
                  .ok());
  std::string answer;
  for (;;) {
    const Result<std::string> bytes = pipes.client->read();
    ASSERT_TRUE(bytes.ok());
    if (bytes.value().empty()) break;
    answer += bytes.value();
    if (answer.find("PACK") != std::string::npos) pipes.client->finish_writing();
  }
  server.join();
  EXPECT_THAT(answer, HasSubstr("version 2"));
  EXPECT_THAT(answer, HasSubstr("packfile"));
  EXPECT_THAT(answer, HasSubstr("PACK"));
  EXPECT_TRUE(served.ok()) << served.error().to_string();
}

TEST_F(GitMirrorsTest, ServeNothingThatWasNotFetched) {
  rpc::testing::PipePair pipes = rpc::testing::make_pipe_pair();
  EXPECT_EQ(mirrors_.serve(request_, "", *pipes.server, {}).error().code(), Code::NotFound);
}

TEST_F(GitMirrorsTest, GoWhenNobodyUsesThem) {
  make_mirror();
  mirrors_.remove_unused();
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_.path() / "mirrors"), {}), 2);
  const fs::path mark =
      directory_.path() / "mirrors" / (file_name_of_step(request_.url.clean) + ".full.used");
  fs::last_write_time(mark, fs::last_write_time(mark) - std::chrono::hours(24 * 31));
  mirrors_.remove_unused();
  EXPECT_TRUE(fs::is_empty(directory_.path() / "mirrors"));
}

}  // namespace
}  // namespace cirrus::gateway
