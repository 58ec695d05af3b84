// SPDX-License-Identifier: MIT
#include "cli/local_tasks.h"

#include <gtest/gtest.h>

#include "cirrus_instances.pb.h"

namespace cirrus::cli {

namespace {
std::vector<lang::pb::Task> tasks_of(const std::string& yaml) {
  const lang::Outcome outcome =
      lang::evaluate(yaml, lang::MemorySourceTree(), lang::controller_options());
  EXPECT_FALSE(outcome.error) << outcome.error->message;
  return outcome.evaluation.tasks;
}

constexpr const char* kThree =
    "persistent_worker: {labels: {os: plan9}, resources: {gpu: 9}}\n"
    "task: {name: Build, x_script: x}\n"
    "task: {name: Test, depends_on: Build, x_script: x}\n"
    "task: {name: Ship, depends_on: Test, trigger_type: manual, x_script: x}\n";

lang::pb::PersistentWorkerInstance instance_of(const lang::pb::Task& task) {
  lang::pb::PersistentWorkerInstance instance;
  EXPECT_TRUE(task.instance().UnpackTo(&instance));
  return instance;
}
}  // namespace

TEST(LocalTasks, RunHereWhateverTheyAskOfAWorker) {
  const auto tasks = local_tasks(tasks_of(kThree), {});
  ASSERT_TRUE(tasks.ok());
  ASSERT_EQ(tasks.value().size(), 3U);
  for (const lang::pb::Task& task : tasks.value()) {
    EXPECT_EQ(instance_of(task).labels_size(), 0);
    EXPECT_EQ(instance_of(task).resources().size(), 1U);
  }
  EXPECT_EQ(tasks.value()[1].required_groups_size(), 1);
}

TEST(LocalTasks, AreChosenByNameWithoutWhatTheyDependOn) {
  const auto tasks = local_tasks(tasks_of(kThree), {{"ship"}, {}});
  ASSERT_TRUE(tasks.ok());
  ASSERT_EQ(tasks.value().size(), 1U);
  EXPECT_EQ(tasks.value()[0].name(), "Ship");
  EXPECT_EQ(tasks.value()[0].required_groups_size(), 0);
  EXPECT_EQ(tasks.value()[0].metadata().properties().count("trigger_type"), 0U);
  const auto none = local_tasks(tasks_of(kThree), {{"build", "deploy"}, {}});
  EXPECT_EQ(none.error().message(), "there is no task 'deploy'; there are: Build, Ship, Test");
}

TEST(LocalTasks, WorkInTheDirectoryItselfWhereTheyCan) {
  const auto tasks =
      local_tasks(tasks_of("task: {name: A, persistent_worker: {}, x_script: x}\n"
                           "task:\n  name: B\n  x_script: x\n  persistent_worker:\n    isolation:\n"
                           "      container: {image: 'debian:12'}\n"),
                  {{}, "/home/me/src"});
  ASSERT_TRUE(tasks.ok()) << tasks.error().to_string();
  for (const lang::pb::Task& task : tasks.value()) {
    EXPECT_EQ(task.environment().at("CIRRUS_WORKING_DIR"), "/home/me/src");
    EXPECT_FALSE(task.commands(0).has_clone_instruction());
  }
  EXPECT_EQ(instance_of(tasks.value()[1]).isolation().container().volumes(0).target(),
            "/home/me/src");
  for (const char* refused : {"task: {container: {image: x}, x_script: x}",
                              "task:\n  x_script: x\n  persistent_worker:\n    isolation:\n"
                              "      vetu: {image: x, user: u, password: p}\n"}) {
    EXPECT_EQ(local_tasks(tasks_of(refused), {{}, "/d"}).error().code(), Code::FailedPrecondition)
        << refused;
  }
}

}  // namespace cirrus::cli
