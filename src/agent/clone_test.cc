// SPDX-License-Identifier: MIT
// The clone instruction with the real git; addresses are redirected to a repository on disk.
#include <sys/stat.h>

#include "agent/testing/task_fixture.h"
#include "os/host.h"

namespace cirrus::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// A bare repository with a branch, a tag, a pull request and its merge; and a `git` on PATH
/// that notes its arguments before it runs the real one.
class Clones : public testing::TaskFixture {
 protected:
  Clones() {
    shell(R"sh(
      git init -q -b main src && cd src
      echo one > file && git add file && git commit -qm one && git rev-parse HEAD > ../first
      git tag v1
      echo two > file && git commit -qam two && git rev-parse HEAD > ../second
      git checkout -q -b feature HEAD~1 && echo pr > pr && git add pr && git commit -qm pr
      git rev-parse HEAD > ../pull
      git checkout -q main && git merge -q -m merged feature && git rev-parse HEAD > ../merge
      git update-ref refs/pull/5/head feature && git update-ref refs/pull/5/merge HEAD
      git reset -q --hard HEAD~1
      cd .. && git clone -q --mirror src owner/repo.git && git -C owner/repo.git config uploadpack.hideRefs ''
      mkdir bin && printf '#!/bin/sh\necho "$@" >> %s/arguments\nexec %s "$@"\n' "$PWD" "$(command -v git)" > bin/git
      chmod 755 bin/git)sh");
    inherited["PATH"] = (root() / "bin").string() + ":" + inherited["PATH"];
    inherited["GIT_CONFIG_COUNT"] = "2";
    inherited["GIT_CONFIG_KEY_0"] = "url.file://" + root().string() + "/.insteadOf";
    inherited["GIT_CONFIG_VALUE_0"] = "https://git.example/";
    inherited["GIT_CONFIG_KEY_1"] = "protocol.file.allow";  // for submodules
    inherited["GIT_CONFIG_VALUE_1"] = "always";
    variable("CIRRUS_REPO_CLONE_URL") = "https://git.example/owner/repo.git";
    variable("CIRRUS_BRANCH") = "main";
    variable("CIRRUS_CHANGE_IN_REPO") = read("second");
    wire::Command& command = *bootstrap.mutable_commands()->add_commands();
    command.set_name("clone");
    command.mutable_clone_instruction();
  }

  std::filesystem::path root() const { return work().parent_path(); }
  std::string read(const std::string& name) const {
    std::string text = os::read_file(root() / name).value_or("");
    while (text.ends_with('\n')) text.pop_back();
    return text;
  }
  std::string shell(const std::string& text_of_script, bool in_work = false) const {
    os::SpawnOptions options;
    options.argv = {"/bin/sh", "-ec", text_of_script};
    options.working_directory = in_work ? work() : root();
    options.environment = inherited;
    for (const char* who : {"AUTHOR", "COMMITTER"}) {
      (*options.environment)["GIT_" + std::string(who) + "_NAME"] = "a";
      (*options.environment)["GIT_" + std::string(who) + "_EMAIL"] = "a@x";
    }
    const auto output = os::run_command(
        options, "", StopToken(), std::chrono::steady_clock::now() + std::chrono::seconds(30));
    EXPECT_TRUE(output.ok() && output.value().status.success()) << output.value().errors;
    std::string text = output.value().output;
    while (text.ends_with('\n')) text.pop_back();
    return text;
  }
  std::string head() const { return shell("git rev-parse HEAD", true); }
  std::string branch() const { return shell("git rev-parse --abbrev-ref HEAD", true); }
};

TEST_F(Clones, CheckOutABranchByName) {
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("clone=COMPLETED")) << log("clone");
  EXPECT_EQ(head(), read("second"));
  EXPECT_EQ(branch(), "main");
  EXPECT_EQ(shell("git config branch.main.merge", true), "refs/heads/main");
  EXPECT_EQ(shell("git status --porcelain", true), "");
}

TEST_F(Clones, FindACommitThatIsNoTipWithDepthOne) {  // row 22: the branch has moved
  variable("CIRRUS_CLONE_DEPTH") = "1";
  variable("CIRRUS_CHANGE_IN_REPO") = read("first");
  run();
  EXPECT_EQ(head(), read("first")) << log("clone");
  EXPECT_EQ(shell("git rev-list --count HEAD", true), "1");
}

TEST_F(Clones, CheckOutATag) {
  variable("CIRRUS_TAG") = "v1";
  variable("CIRRUS_CHANGE_IN_REPO") = read("first");
  run();
  EXPECT_EQ(head(), read("first")) << log("clone");
  EXPECT_EQ(shell("git describe --tags", true), "v1");
}

TEST_F(Clones, CheckOutAPullRequestDetached) {
  variable("CIRRUS_PR") = "5";
  variable("CIRRUS_CHANGE_IN_REPO") = read("pull");
  run();
  EXPECT_EQ(head(), read("pull")) << log("clone");
  EXPECT_EQ(branch(), "HEAD");
}

TEST_F(Clones, CheckOutTheMergeOfAPullRequest) {
  variable("CIRRUS_PR") = "5";
  variable("CIRRUS_CHANGE_IN_REPO") = read("pull");
  variable("CIRRUS_RESOLUTION_STRATEGY") = "MERGE_FOR_PRS";
  variable("CIRRUS_CLONE_DEPTH") = "1";
  run();
  EXPECT_EQ(head(), read("merge")) << log("clone");
}

TEST_F(Clones, HaveTheWholeHistoryUnlessToldOtherwise) {
  run();
  EXPECT_EQ(shell("git rev-list --count HEAD", true), "2") << log("clone");
  EXPECT_EQ(shell("git tag", true), "");
}

TEST_F(Clones, BringAllTagsIfAsked) {
  shell("git -C src tag -a -m annotated v2 && git -C owner/repo.git fetch -q --tags ../../src");
  variable("CIRRUS_CLONE_TAGS") = "true";
  variable("CIRRUS_CLONE_DEPTH") = "1";
  run();
  EXPECT_EQ(head(), read("second")) << log("clone");
  EXPECT_EQ(shell("git tag", true), "v1\nv2");
}

TEST_F(Clones, BringSubmodulesIfAsked) {
  shell(R"sh(
    git init -q -b main inner && cd inner && echo in > in && git add in && git commit -qm in
    cd .. && git clone -q --mirror inner owner/inner.git
    git init -q -b main outer && cd outer && echo out > out && git add out && git commit -qm out
    git submodule --quiet add https://git.example/owner/inner.git deep/inner
    git commit -qm inner && cd .. && git clone -q --mirror outer owner/outer.git
    git init -q -b main top && cd top
    git submodule --quiet add https://git.example/owner/outer.git outer
    git config -f .gitmodules submodule.outer.url ../outer.git
    git add -A && git commit -qm top && git rev-parse HEAD > ../top-head
    cd .. && git clone -q --mirror top owner/top.git)sh");
  variable("CIRRUS_REPO_CLONE_URL") = "https://git.example/owner/top.git";
  variable("CIRRUS_CHANGE_IN_REPO") = read("top-head");
  run();
  EXPECT_FALSE(std::filesystem::exists(work() / "outer/out")) << log("clone");
  new_gateway();
  EXPECT_TRUE(os::remove_tree(work()).ok());
  variable("CIRRUS_CLONE_SUBMODULES") = "true";
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("clone=COMPLETED")) << log("clone");
  EXPECT_EQ(os::read_file(work() / "outer/out").value_or(""), "out\n");
  EXPECT_EQ(os::read_file(work() / "outer/deep/inner/in").value_or(""), "in\n");
}

TEST_F(Clones, BringLargeFiles) {
  if (os::find_program("git-lfs").empty()) GTEST_SKIP() << "git-lfs is not installed";
  shell(R"sh(
    export HOME=$PWD
    git init -q --bare owner/large.git
    git init -q -b main large && cd large && git lfs install --local > /dev/null
    mkdir sub && echo '*.bin filter=lfs diff=lfs merge=lfs -text' > sub/.gitattributes
    head -c 100000 /dev/urandom > sub/x.bin && sha256sum < sub/x.bin > ../digest
    git add -A && git commit -qm large && git rev-parse HEAD > ../large-head
    git remote add up file://$PWD/../owner/large.git
    git push -q up main 2> /dev/null && git lfs push --all up main > /dev/null)sh");
  EXPECT_LT(std::stol(shell("git -C large cat-file -s HEAD:sub/x.bin")), 1000);
  variable("CIRRUS_REPO_CLONE_URL") = "https://git.example/owner/large.git";
  variable("CIRRUS_CHANGE_IN_REPO") = read("large-head");
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("clone=COMPLETED")) << log("clone");
  EXPECT_EQ(shell("sha256sum < sub/x.bin", true), read("digest")) << log("clone");
}

TEST_F(Clones, WorkInADirectoryThatIsNotEmpty) {
  ASSERT_TRUE(os::make_directories(work()).ok());
  ASSERT_TRUE(os::write_file(work() / "file", "in the way").ok());
  ASSERT_TRUE(os::write_file(work() / "other", "stays").ok());
  run();
  EXPECT_EQ(os::read_file(work() / "file").value_or(""), "two\n") << log("clone");
  EXPECT_EQ(os::read_file(work() / "other").value_or(""), "stays");
}

TEST_F(Clones, WriteTheTokenNowhere) {
  const std::string token = "ghs_verysecrettoken";
  variable("CIRRUS_REPO_CLONE_TOKEN") = token;
  variable("CIRRUS_REPO_CLONE_HOST") = "git.example";
  variable("CIRRUS_REPO_FULL_NAME") = "owner/repo";
  add_script(
      "main",
      {"echo in the log: $CIRRUS_REPO_CLONE_TOKEN",
       "printf 'protocol=https\\nhost=git.example\\n\\n' | git credential fill > credential"});
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("clone=COMPLETED", "main=COMPLETED"))
      << log("clone") << log("main");
  EXPECT_EQ(shell("grep -r " + token + " .git | wc -l", true), "0");
  EXPECT_THAT(os::read_file(root() / "arguments").value_or(""), Not(HasSubstr(token)));
  EXPECT_THAT(log("main"), HasSubstr("in the log: HIDDEN-BY-CIRRUS-CI"));
  EXPECT_THAT(os::read_file(work() / "credential").value_or(""), HasSubstr("password=" + token));
}

TEST_F(Clones, SayWhatIsMissing) {
  bootstrap.mutable_commands()->mutable_environment()->erase("CIRRUS_REPO_CLONE_URL");
  run();
  EXPECT_THAT(log("clone"), HasSubstr("CIRRUS_REPO_CLONE_URL is not set"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("clone=FAILED"));
}

}  // namespace
}  // namespace cirrus::agent
