// SPDX-License-Identifier: MIT
#include "lang/evaluate.h"

#include <gtest/gtest.h>

#include "cirrus_instances.pb.h"
#include "lang/testing/evaluated.h"

namespace cirrus::lang {
namespace {

using testing::evaluated;

TEST(Evaluate, AnEmptyConfigurationHasNoTasks) {
  for (const char* text : {"", "# nothing\n", "env: {A: 1}\n", "---\n"}) {
    const Outcome outcome = evaluated(text);
    EXPECT_FALSE(outcome.error) << text;
    EXPECT_TRUE(outcome.evaluation.tasks.empty()) << text;
    EXPECT_EQ(outcome.evaluation.tasks_count_before_filtering, 0) << text;
  }
}

TEST(Evaluate, TheProductExampleRunsOnOwnMachines) {
  const Outcome outcome = evaluated(
      "persistent_worker:\n  labels: {os: linux}\n\ntask:\n  name: Tests\n  script: ./test\n\n"
      "task:\n  name: Lint\n  persistent_worker:\n    isolation:\n      none: {}\n  script: "
      "./lint\n",
      controller_options());
  EXPECT_EQ(testing::task_names(outcome), "Tests Lint");
  const auto lint =
      testing::instance_of<pb::PersistentWorkerInstance>(outcome.evaluation.tasks.at(1));
  EXPECT_EQ(lint.labels().at("os"), "linux");
  EXPECT_TRUE(lint.isolation().has_none());
}

TEST(Evaluate, ErrorsShowTheLineAndTheLikelyFix) {
  const Outcome outcome = evaluated("env:\n  matrix:\n    A: 1\n");
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(render(*outcome.error),
            ".cirrus.yml:2:3: a matrix can only stand inside a task, docker_builder or pipe\n"
            "    matrix:\n"
            "    ^\n"
            "hint: move it into a task, or give the key around it a name that ends in 'task'");
}

TEST(Evaluate, AMatrixWhereItCannotBeNamesThePlaceThatIsAllowed) {
  const struct {
    const char* yaml;
    const char* place;
  } cases[] = {
      {"matrix: {a: 1}\n", "1:1"},
      {"container:\n  matrix:\n    - image: a\n    - image: b\ntask: {}\n", "2:3"},
      {"task:\n  container: {image: a}\n  matrix: text\n", "3:3"},
      {"task:\n  container: {image: a}\n  matrix:\n    - text\n", "4:7"},
  };
  for (const auto& c : cases) EXPECT_EQ(testing::place(evaluated(c.yaml)), c.place) << c.yaml;
}

TEST(Evaluate, CaretsStandBelowTheirCharacter) {
  ConfigError failure;
  failure.message = "m";
  failure.line = 2;
  failure.column = 4;
  add_excerpt(failure, "a\n\täö: x\r\nb");
  EXPECT_EQ(failure.excerpt, "\täö: x\n\t  ^");
  failure.excerpt.clear();
  failure.line = 9;
  add_excerpt(failure, "a\nb");
  EXPECT_EQ(failure.excerpt, "");
  EXPECT_EQ(render(failure), ".cirrus.yml:9:4: m");
  failure.line = 0;
  EXPECT_EQ(render(failure), ".cirrus.yml: m");
}

TEST(Evaluate, IssuesBeforeAnErrorAreKept) {
  const Outcome outcome = evaluated("container: {image: a}\ntask_x: {}\ntask: {timeout_in: x}\n");
  EXPECT_TRUE(outcome.error);
  EXPECT_TRUE(outcome.evaluation.tasks.empty());
  EXPECT_EQ(testing::issue_places(outcome), "2:1 warning");
  EXPECT_EQ(issue_of(*outcome.error).level(), pb::Issue::ERROR);
  EXPECT_EQ(issue_of(*outcome.error).line(), 3u);
}

TEST(MemorySourceTree, ListsNamesInOrder) {
  const MemorySourceTree files({{"/a/b", "1"}, {"a/c/d", "2"}, {"e", "3"}, {"ab", "4"}});
  EXPECT_EQ(files.read("a/b").value(), "1");
  EXPECT_EQ(files.read("a").value(), std::nullopt);
  EXPECT_EQ(join(*files.list("a").value(), " "), "b c");
  EXPECT_EQ(join(*files.list("").value(), " "), "a ab e");
  EXPECT_EQ(files.list("x").value(), std::nullopt);
}

}  // namespace
}  // namespace cirrus::lang
