// SPDX-License-Identifier: MIT
#include "lang/tasks/dockerfile.h"

#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/strings.h"
#include "lang/tasks/digest.h"
#include "lang/testing/evaluated.h"

namespace cirrus::lang {
namespace {

using testing::evaluated;
using testing::issue_places;
using testing::place;
using testing::property;

std::string sources(std::string_view dockerfile,
                    const std::map<std::string, std::string>& arguments = {}) {
  const Result<std::vector<std::string>> paths = copied_paths(dockerfile, arguments);
  return paths.ok() ? join(paths.value(), " ") : paths.error().message();
}

TEST(Dockerfile, FindsWhatIsCopiedFromTheContext) {
  EXPECT_EQ(sources("FROM a"), "");
  EXPECT_EQ(sources("FROM a\nCOPY b a /x/"), "a b");
  EXPECT_EQ(sources("from a\ncopy --chown=x /a/ /x\nADD https://h/f b /y"), "a b");
  EXPECT_EQ(sources("FROM a\nCOPY [\"a b\", \"c\", \"/x\"]"), "a b c");
  EXPECT_EQ(sources("FROM a\nCOPY a \\\n  # comment\n\n  b /x"), "a b");
  EXPECT_EQ(sources("# escape=`\nFROM a\nCOPY a `\n b /x"), "a b");
  EXPECT_EQ(sources("FROM a\nCOPY <<EOF /x\nCOPY no /y\nEOF\nCOPY b /y"), "b");
  EXPECT_EQ(sources("FROM a\nRUN <<EOF\nCOPY no /y\nEOF\n"), "");
}

TEST(Dockerfile, OnlyNeededStagesCount) {
  const char* text =
      "FROM a AS one\nCOPY 1 /\nFROM b AS two\nCOPY 2 /\nFROM one AS three\nCOPY 3 /\nCOPY "
      "--from=0 /x /y\n";
  EXPECT_EQ(sources(text), "1 3");
  EXPECT_EQ(sources(std::string(text) + "FROM c\nCOPY --from=two /x /y\n"), "2");
  EXPECT_EQ(sources(std::string(text) + "FROM c\nRUN --mount=type=bind,from=three x\n"), "1 3");
}

TEST(Dockerfile, VariablesAreSubstituted) {
  EXPECT_EQ(sources("FROM a\nARG D=x\nCOPY $D ${D}2 /"), "x x2");
  EXPECT_EQ(sources("FROM a\nARG D=x\nCOPY $D /", {{"D", "y"}}), "y");
  EXPECT_EQ(sources("FROM a\nARG D=x\nENV D=z\nCOPY $D /", {{"D", "y"}}), "z");
  EXPECT_EQ(sources("FROM a\nENV D some words\nCOPY ${E:-d} ${D:+e} \\$D /"), "$D d e");
  EXPECT_EQ(sources("ARG G=g\nFROM a\nARG G\nCOPY $G /"), "g");
}

TEST(Dockerfile, ErrorsNameTheLine) {
  EXPECT_EQ(sources(""), "there is no FROM");
  EXPECT_EQ(sources("FROM a\nFETCH x"), "line 2: unknown instruction 'fetch'");
  EXPECT_EQ(sources("COPY a b"), "line 1: 'copy' before FROM");
  EXPECT_EQ(sources("FROM a\nCOPY a"), "line 2: copy needs a source and a destination");
  EXPECT_EQ(sources("FROM a b"),
            "line 1: FROM needs an image, optionally followed by AS and a name");
}

TEST(Dockerfile, HashesFollowTheReference) {
  const std::string yaml = "task: {container: {dockerfile: D, docker_arguments: {b: 2, a: 1}}}";
  EXPECT_EQ(
      property(evaluated(yaml, {}, {{"D", "FROM x"}}).evaluation.tasks.at(0), "dockerfile_hash"),
      md5_hex("FROM xa1, b2"));
  EXPECT_EQ(property(evaluated("task: {env: {CIRRUS_ARCH: arm64}, container: {dockerfile: D}}", {},
                               {{"D", "FROM x"}})
                         .evaluation.tasks.at(0),
                     "dockerfile_hash"),
            md5_hex("FROM xarm64"));
  const std::string copy = "FROM x\nCOPY f dir /";
  EXPECT_EQ(
      property(
          evaluated("task: {container: {dockerfile: D}}", {},
                    {{"D", copy}, {"f", "1"}, {"dir/b/c", "4"}, {"dir/a", "2"}, {"dir/z", "3"}})
              .evaluation.tasks.at(0),
          "dockerfile_hash"),
      sha256_hex(copy + "2341"));
  EXPECT_EQ(
      property(evaluated("task: {env: {CIRRUS_DOCKER_CONTEXT: sub}, container: {dockerfile: D}}",
                         {}, {{"D", "FROM x\nCOPY . /"}, {"sub/f", "1"}})
                   .evaluation.tasks.at(0),
               "dockerfile_hash"),
      sha256_hex("FROM x\nCOPY . /1"));
}

TEST(Dockerfile, ProblemsAreReportedAtTheField) {
  const std::string yaml = "task:\n  container:\n    dockerfile: D\n";
  EXPECT_EQ(place(evaluated(yaml)), "3:5");
  const Outcome missing = evaluated(yaml, {}, {{"D", "FROM x\nCOPY nope /"}});
  EXPECT_EQ(issue_places(missing), "3:5 warning");
  EXPECT_EQ(property(missing.evaluation.tasks.at(0), "dockerfile_hash"),
            md5_hex("FROM x\nCOPY nope /"));
  EXPECT_EQ(issue_places(evaluated(yaml, {}, {{"D", "NONSENSE"}})), "3:5 warning");
}

TEST(Dockerfile, OneServiceTaskPerHashUnlessTheWorkerBuilds) {
  const std::string yaml =
      "container: {dockerfile: D}\na_task: {}\nb_task: {}\nc_task: {only_if: false}\n";
  const Outcome outcome = evaluated(yaml, {}, {{"D", "FROM x"}});
  ASSERT_EQ(outcome.evaluation.tasks.size(), 3u);
  EXPECT_EQ(outcome.evaluation.tasks[2].name(), "Prebuild D");
  EXPECT_EQ(outcome.evaluation.tasks[2].local_group_id(), 3);
  EXPECT_EQ(property(outcome.evaluation.tasks[2], "indexWithinBuild"), "2");
  EXPECT_EQ(outcome.evaluation.tasks[1].required_groups(0), 3);
  EXPECT_EQ(outcome.evaluation.tasks_count_before_filtering, 3);
  const Outcome ours = evaluated(yaml, controller_options(), {{"D", "FROM x"}});
  ASSERT_EQ(ours.evaluation.tasks.size(), 2u);
  EXPECT_EQ(property(ours.evaluation.tasks[0], "dockerfile_hash"), md5_hex("FROM x"));
}

}  // namespace
}  // namespace cirrus::lang
