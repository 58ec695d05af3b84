// SPDX-License-Identifier: MIT
#include "lang/tasks/dependencies.h"

#include <gtest/gtest.h>

#include "lang/testing/evaluated.h"

namespace cirrus::lang {
namespace {

using testing::evaluated;
using testing::issue_places;
using testing::message;
using testing::place;

const std::string kBox = "container: {image: a}\n";

/// `0 1:0 2:0,1`: ids with what they wait for.
std::string links(const Outcome& outcome) {
  if (outcome.error) return render(*outcome.error);
  std::vector<std::string> result;
  for (const pb::Task& task : outcome.evaluation.tasks) {
    std::vector<std::string> ids;
    for (const std::int64_t id : task.required_groups()) ids.push_back(fmt::format("{}", id));
    result.push_back(
        fmt::format("{}{}{}", task.local_group_id(), ids.empty() ? "" : ":", join(ids, ",")));
  }
  return join(result, " ");
}

TEST(Dependencies, MatchNamesAndAliasesOfAllTasks) {
  EXPECT_EQ(links(evaluated(kBox + "a_task: {depends_on: [b, c]}\nb_task: {}\nc_task: {}")),
            "0:1,2 1 2");
  EXPECT_EQ(
      links(evaluated(kBox + "a_task: {alias: x}\nb_task: {alias: x}\nc_task: {depends_on: x}")),
      "0 1 2:0,1");
  EXPECT_EQ(links(evaluated(kBox + "a_task: {alias: x}\nb_task: {depends_on: [x, a]}")), "0 1:0,0");
  EXPECT_EQ(
      links(evaluated(kBox + "t_task: {env: {matrix: {A: 1, A: 2}}}\nz_task: {depends_on: t}")),
      "0 1 2:0,1");
  EXPECT_EQ(links(evaluated(kBox + "a_task: {}\nb_task: {depends_on: $D, env: {D: '[a]'}}")),
            "0 1:0");
}

TEST(Dependencies, DroppedTasksAreWarnedAboutAndIgnored) {
  const Outcome outcome = evaluated(kBox + "a_task: {only_if: false}\nb_task: {depends_on: a}");
  EXPECT_EQ(links(outcome), "1");
  EXPECT_EQ(issue_places(outcome), "3:1 warning");
  EXPECT_EQ(issue_places(evaluated(kBox + "a_task: {only_if: true}\nb_task: {depends_on: a}")),
            "3:1 warning");
  EXPECT_EQ(issue_places(evaluated(
                kBox + "a_task: {only_if: true}\nb_task: {depends_on: a, only_if: true}")),
            "");
  EXPECT_EQ(issue_places(evaluated(kBox + "a_task: {}\nb_task: {depends_on: a, only_if: true}")),
            "");
}

TEST(Dependencies, ErrorsSayWhatIsMeant) {
  const struct {
    const char* yaml;
    const char* message;
  } cases[] = {
      {"a_task: {}\nb_task: {depends_on: c}", "task 'b' depends on 'c', which does not exist"},
      {"a_task: {name: x}\nb_task: {depends_on: a}",
       "task 'b' depends on 'a', which is called 'x' because of its 'name' field"},
      {"a_task: {depends_on: }", "task 'a' has an empty dependency"},
      {"a_task: {depends_on: a}", "these tasks can never run because they wait for each other: a"},
      {"a_task: {}\nc_task: {depends_on: b}\nb_task: {depends_on: [a, c]}\nd_task: {depends_on: c}",
       "these tasks can never run because they wait for each other: c, b, d"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    const Outcome outcome = evaluated(kBox + c.yaml);
    EXPECT_EQ(message(outcome), c.message);
    ASSERT_TRUE(outcome.error);
    EXPECT_EQ(outcome.error->kind, ErrorKind::Basic);
  }
  const Outcome near =
      evaluated(kBox + "build_task: {}\nb_task: {depends_on: biuld2}\nbuild2_task: {}");
  EXPECT_EQ(near.error->hint, "did you mean 'build2'?");
}

std::string labels(const Outcome& outcome) {
  if (outcome.error) return render(*outcome.error);
  std::vector<std::string> result;
  for (const pb::Task& task : outcome.evaluation.tasks) {
    const auto& list = task.metadata().unique_labels();
    result.push_back("[" + join({list.begin(), list.end()}, ", ") + "]");
  }
  return join(result, " ");
}

TEST(UniqueLabels, TellTasksOfOneNameApart) {
  EXPECT_EQ(labels(evaluated(kBox + "task: {env: {matrix: {A: 1, A: 2}}}")), "[A:1] [A:2]");
  EXPECT_EQ(labels(evaluated(kBox + "task: {env: {A: 1}}\nb_task: {env: {A: 2}}")), "[] []");
  EXPECT_EQ(labels(evaluated("task: {container: {matrix: {image: a, image: b}}}")),
            "[container:a] [container:b]");
  EXPECT_EQ(labels(evaluated(kBox + "task: {env: {A: }}\ntask: {env: {B: 'ENCRYPTED[x]'}}")),
            "[A:] []");
  EXPECT_EQ(labels(evaluated("task: {container: {image: a, additional_containers: [{image: b, "
                             "name: db}]}}\ntask: {container: {image: a}}")),
            "[db:b] []");
  EXPECT_EQ(labels(evaluated("task: {windows_container: {image: a}}\ntask: {windows_container: "
                             "{image: a, os_version: 1}}")),
            "[os:2019] [os:1]");
  const EvaluateOptions options = controller_options();
  EXPECT_EQ(labels(evaluated("task: {freebsd_instance: {matrix: {image_family: a, image_name: b}}}",
                             options)),
            "[freebsd_instance:family/a] [freebsd_instance:b]");
}

}  // namespace
}  // namespace cirrus::lang
