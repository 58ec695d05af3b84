// SPDX-License-Identifier: MIT
// What every Store must do. Instantiate with a factory; `reopen` gives a store over the same data.
#pragma once

#include <functional>
#include <memory>

#include <gtest/gtest.h>

#include "controller/store/store.h"

namespace cirrus::controller::store {

/// Makes stores over one set of data.
class StoreHarness {
 public:
  virtual ~StoreHarness() = default;
  virtual Store& store() = 0;
  /// Lets go of the store and opens it again, as after a restart.
  virtual void reopen() = 0;
};

using HarnessFactory = std::function<std::unique_ptr<StoreHarness>()>;

class StoreContract : public testing::TestWithParam<HarnessFactory> {
 protected:
  void SetUp() override { harness_ = GetParam()(); }
  Store& store() { return harness_->store(); }
  void reopen() { harness_->reopen(); }

  static BuildRows sample_build(std::int64_t build, std::int64_t first_task) {
    BuildRows rows;
    rows.build.id = model::BuildId{build};
    rows.build.repository = "local/hello";
    rows.build.branch = "main";
    rows.build.environment = {{"KEY", std::string("a\0b", 3)}, {"EMPTY", ""}};
    rows.build.status = model::BuildStatus::Executing;
    rows.build.issues = std::string("\x01\x00\xff", 3);
    rows.build.cache_space = "token-1";
    rows.build.trusted = false;
    rows.build.submitted_by = "1";
    rows.definitions = {{rows.build.id, 0, {}, "first"}, {rows.build.id, 1, {0}, "second"}};
    for (int node = 0; node < 2; ++node) {
      TaskRecord task;
      task.id = model::TaskId{first_task + node};
      task.build = rows.build.id;
      task.node = node;
      task.client_secret = "client";
      task.lost_before = node;
      task.holds_worker = node == 0;
      task.status = node == 0 ? model::TaskStatus::Executing : model::TaskStatus::Created;
      rows.tasks.push_back(task);
      rows.steps.push_back(
          {task.id, 0, "a step / with ':' any\nname", model::StepStatus::Created, 5});
    }
    return rows;
  }
  static Changes changes_of(const BuildRows& rows) {
    Changes changes;
    changes.builds = {rows.build};
    changes.definitions = rows.definitions;
    changes.tasks = rows.tasks;
    changes.steps = rows.steps;
    return changes;
  }

  std::unique_ptr<StoreHarness> harness_;
};

TEST_P(StoreContract, AnEmptyStoreLoadsEmpty) {
  const Result<Loaded> loaded = store().load();
  ASSERT_TRUE(loaded.ok()) << loaded.error().to_string();
  EXPECT_TRUE(loaded.value().builds.empty());
  EXPECT_EQ(loaded.value().last_task_id, 0);
}

TEST_P(StoreContract, KeepsConfigurationOverAReopen) {
  Changes changes;
  changes.settings = {{"key", std::string("\0secret", 7)}};
  changes.pools = {
      {"default", false, true, 1234, model::IsolationSet::any()},
      {"release", true, false, 1, model::IsolationSet::of({}).value()},
      {"shared", true, false, 1, model::IsolationSet::of({"vetu", "tart"}).value(), true}};
  changes.registration_tokens = {{"t1", "default", "hash", 1, 2, 3, "for the macs", "mac-*"}};
  changes.api_tokens = {{"a1", "ci", "submitter", "hash2", 4, 5, {"acme/app", "local/*"}, true}};
  changes.workers = {{"default", "w 1", "inst", true, {{"os", "linux"}}, {{"cpu", 0.1}}, 9}};
  ASSERT_TRUE(store().apply(changes).ok());
  reopen();
  const Loaded loaded = store().load().value();
  EXPECT_EQ(loaded.settings.at("key"), std::string("\0secret", 7));
  ASSERT_EQ(loaded.pools.size(), 3U);
  EXPECT_FALSE(loaded.pools[0].hold_reference_polls);
  EXPECT_TRUE(loaded.pools[0].paused);
  EXPECT_EQ(loaded.pools[0].lost_after_ms, 1234);
  for (std::size_t i = 0; i < loaded.pools.size(); ++i) {
    EXPECT_EQ(loaded.pools[i].untrusted_isolations, changes.pools[i].untrusted_isolations);
    EXPECT_EQ(loaded.pools[i].record_shells, changes.pools[i].record_shells);
  }
  ASSERT_EQ(loaded.registration_tokens.size(), 1U);
  EXPECT_EQ(loaded.registration_tokens[0].revoked_ms, 3);
  EXPECT_EQ(loaded.registration_tokens[0].note, "for the macs");
  EXPECT_EQ(loaded.registration_tokens[0].worker_names, "mac-*");
  ASSERT_EQ(loaded.api_tokens.size(), 1U);
  EXPECT_EQ(loaded.api_tokens[0].hash, "hash2");
  EXPECT_EQ(loaded.api_tokens[0].repositories, (std::vector<std::string>{"acme/app", "local/*"}));
  EXPECT_TRUE(loaded.api_tokens[0].trusted);
  ASSERT_EQ(loaded.workers.size(), 1U);
  EXPECT_TRUE(loaded.workers[0].disabled);
  EXPECT_EQ(loaded.workers[0].labels.at("os"), "linux");
  EXPECT_EQ(loaded.workers[0].resources.at("cpu"), 0.1);
}

TEST_P(StoreContract, KeepsABuildWithAllItsRows) {
  ASSERT_TRUE(store().apply(changes_of(sample_build(3, 10))).ok());
  reopen();
  const Loaded loaded = store().load().value();
  EXPECT_EQ(loaded.last_build_id, 3);
  EXPECT_EQ(loaded.last_task_id, 11);
  ASSERT_EQ(loaded.builds.size(), 1U);
  const BuildRows& rows = loaded.builds[0];
  EXPECT_EQ(rows.build.environment.at("KEY"), std::string("a\0b", 3));
  EXPECT_EQ(rows.build.environment.at("EMPTY"), "");
  EXPECT_EQ(rows.build.issues, std::string("\x01\x00\xff", 3));
  ASSERT_EQ(rows.definitions.size(), 2U);
  EXPECT_EQ(rows.definitions[1].depends_on, std::vector<int>{0});
  ASSERT_EQ(rows.tasks.size(), 2U);
  EXPECT_TRUE(rows.tasks[0].holds_worker);
  EXPECT_EQ(rows.tasks[1].lost_before, 1);
  EXPECT_EQ(rows.build.cache_space, "token-1");
  EXPECT_FALSE(rows.build.trusted);
  EXPECT_EQ(rows.build.submitted_by, "1");
  ASSERT_EQ(rows.steps.size(), 2U);
  EXPECT_EQ(rows.steps[0].name, "a step / with ':' any\nname");
}

TEST_P(StoreContract, LaterRowsReplaceEarlierOnes) {
  BuildRows rows = sample_build(1, 1);
  ASSERT_TRUE(store().apply(changes_of(rows)).ok());
  rows.tasks[0].status = model::TaskStatus::Completed;
  rows.steps[0].status = model::StepStatus::Completed;
  Changes changes;
  changes.tasks = {rows.tasks[0]};
  changes.steps = {rows.steps[0]};
  ASSERT_TRUE(store().apply(changes).ok());
  const auto read = store().read_build(model::BuildId{1});
  ASSERT_TRUE(read.ok() && read.value());
  EXPECT_EQ(read.value()->tasks[0].status, model::TaskStatus::Completed);
  EXPECT_EQ(read.value()->steps[0].status, model::StepStatus::Completed);
  EXPECT_EQ(read.value()->tasks.size(), 2U);
}

TEST_P(StoreContract, LoadsOnlyWhatIsUnfinishedOrHeld) {
  BuildRows done = sample_build(1, 1);
  done.build.status = model::BuildStatus::Completed;
  for (TaskRecord& task : done.tasks) task.holds_worker = false;
  BuildRows held = sample_build(2, 3);
  held.build.status = model::BuildStatus::Aborted;
  ASSERT_TRUE(store().apply(changes_of(done)).ok());
  ASSERT_TRUE(store().apply(changes_of(held)).ok());
  const Loaded loaded = store().load().value();
  ASSERT_EQ(loaded.builds.size(), 1U);
  EXPECT_EQ(loaded.builds[0].build.id, model::BuildId{2});
  EXPECT_EQ(loaded.last_build_id, 2);
}

TEST_P(StoreContract, FindsBuildsAndTasksById) {
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(store().apply(changes_of(sample_build(i, i * 10))).ok());
  EXPECT_EQ(store().build_of(model::TaskId{21}).value(), model::BuildId{2});
  EXPECT_EQ(store().build_of(model::TaskId{99}).value(), std::nullopt);
  EXPECT_FALSE(store().read_build(model::BuildId{9}).value());
  const std::vector<model::BuildId> newest = {model::BuildId{3}, model::BuildId{2}};
  EXPECT_EQ(store().list_builds(0, 2).value(), newest);
  EXPECT_EQ(store().list_builds(2, 10).value(), std::vector{model::BuildId{1}});
}

TEST_P(StoreContract, ListsTheAuditNewestFirst) {
  Changes changes;
  changes.audit = {{1, "a", "pool.create", "x"}, {2, "b", "pool.token.create", "y"}};
  ASSERT_TRUE(store().apply(changes).ok());
  changes.audit = {{3, "a", "poolish", "z"}};
  ASSERT_TRUE(store().apply(changes).ok());
  const auto subjects = [&](const AuditQuery& query) {
    std::string found;
    const auto listed = store().list_audit(query);  // outlives the loop
    for (const AuditRecord& entry : listed.value()) found += entry.subject;
    return found;
  };
  AuditQuery query;
  EXPECT_EQ(subjects(query), "zyx");
  query.limit = 1;
  EXPECT_EQ(subjects(query), "z");
  query.before = store().list_audit(query).value().at(0).id;
  query.limit = 10;
  EXPECT_EQ(subjects(query), "yx");
  query = {};
  query.action = "pool";
  EXPECT_EQ(subjects(query), "yx") << "what is below it";
  query.action = "pool.create";
  EXPECT_EQ(subjects(query), "x");
  query = {};
  query.actor = "a";
  EXPECT_EQ(subjects(query), "zx");
}

namespace {
/// One task, ended; `branch` and the time it ended are what removing looks at.
inline BuildRows ended_build(std::int64_t id, const std::string& branch, std::int64_t finished_ms,
                             model::BuildStatus status = model::BuildStatus::Completed) {
  BuildRows rows;
  rows.build.id = model::BuildId{id};
  rows.build.repository = "local/hello";
  rows.build.branch = branch;
  rows.build.status = status;
  rows.build.finished_ms = finished_ms;
  rows.definitions = {{rows.build.id, 0, {}, "task"}};
  TaskRecord task;
  task.id = model::TaskId{id * 10};
  task.build = rows.build.id;
  task.status = model::TaskStatus::Completed;
  rows.tasks = {task};
  rows.steps = {{task.id, 0, "main", model::StepStatus::Completed, 5}};
  return rows;
}

inline std::string ids_of(const Result<std::vector<RemovedBuildRecord>>& builds) {
  std::string text;
  for (const RemovedBuildRecord& build : builds.value()) text += build.id.to_string() + " ";
  return text;
}
}  // namespace

TEST_P(StoreContract, KnowsTheLastTrustedSuccessOfABranch) {
  EXPECT_EQ(store().last_green("local/hello", "main").value(), std::nullopt);
  const auto add = [&](std::int64_t id, const std::string& branch, const std::string& commit,
                       model::BuildStatus status, bool trusted) {
    BuildRows rows = ended_build(id, branch, id, status);
    rows.build.commit = commit;
    rows.build.trusted = trusted;
    ASSERT_TRUE(store().apply(changes_of(rows)).ok());
  };
  add(1, "main", "aa", model::BuildStatus::Completed, true);
  add(2, "main", "bb", model::BuildStatus::Completed, true);
  add(3, "main", "cc", model::BuildStatus::Completed, false);
  add(4, "main", "", model::BuildStatus::Completed, true);
  add(5, "main", "dd", model::BuildStatus::Failed, true);
  add(6, "other", "ee", model::BuildStatus::Completed, true);
  const GreenBuild green{model::BuildId{2}, "bb"};
  EXPECT_EQ(store().last_green("local/hello", "main").value(), green);
  EXPECT_EQ(store().last_green("local/hello", "topic").value(), std::nullopt);
  EXPECT_EQ(store().last_green("local/other", "main").value(), std::nullopt);
  // Nor does retention take it for a newer one that counts less: without trust, without a commit.
  EXPECT_EQ(ids_of(store().list_removable({1000, 0, 10})), "1 5 ");
}

TEST_P(StoreContract, OffersForRemovalOnlyWhatIsOverAndNotTheLastGoodOfItsBranch) {
  using model::BuildStatus;
  using model::TaskStatus;
  BuildRows unfinished = ended_build(3, "main", 0, BuildStatus::Executing);
  BuildRows held = ended_build(4, "main", 30, BuildStatus::Aborted);
  held.tasks[0].holds_worker = true;
  BuildRows waiting = ended_build(5, "main", 30, BuildStatus::Failed);
  waiting.tasks[0].status = TaskStatus::Ready;
  BuildRows manual = ended_build(6, "main", 30, BuildStatus::Failed);
  manual.tasks[0].status = TaskStatus::Created;
  for (const BuildRows& rows :
       {ended_build(1, "main", 50), ended_build(2, "other", 10), unfinished, held, waiting, manual,
        ended_build(7, "main", 60), ended_build(8, "main", 20, BuildStatus::Failed),
        ended_build(9, "main", 100, BuildStatus::Failed)}) {
    ASSERT_TRUE(store().apply(changes_of(rows)).ok());
  }
  EXPECT_EQ(ids_of(store().list_removable({100, 0, 10})), "8 6 1 ")
      << "2 and 7 are the last good ones of their branches, 9 is too young";
  EXPECT_EQ(ids_of(store().list_removable({100, 0, 2})), "8 6 ") << "the longest finished first";
  EXPECT_EQ(ids_of(store().list_removable({1000, 2, 10})), "1 6 ") << "8 and 9 are the newest two";
  EXPECT_EQ(ids_of(store().list_removable({40, 2, 10})), "6 ");
  EXPECT_EQ(ids_of(store().list_removable({1000, 9, 10})), "");
  EXPECT_EQ(ids_of(store().list_removable({1000, 100, 10})), "");
  const RemovedBuildRecord first = store().list_removable({100, 0, 1}).value().at(0);
  EXPECT_EQ(first.repository, "local/hello");
  EXPECT_EQ(first.tasks, std::vector{model::TaskId{80}});
  EXPECT_EQ(first.last_task, 80);
}

TEST_P(StoreContract, ARemovedBuildLeavesARecordAndNothingElse) {
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(store().apply(changes_of(ended_build(i, "main", 10))).ok());
  }
  const auto removed = [](std::int64_t id) {
    return RemovedBuildRecord{model::BuildId{id},       "local/hello", 77, "kept for 1 day",
                              {model::TaskId{id * 10}}, id * 10};
  };
  Changes changes;
  changes.removed_builds = {removed(1), removed(3)};
  ASSERT_TRUE(store().apply(changes).ok());
  reopen();
  for (const std::int64_t id : {1, 3}) {
    EXPECT_FALSE(store().read_build(model::BuildId{id}).value());
    EXPECT_FALSE(store().read_task(model::TaskId{id * 10}).value());
    EXPECT_FALSE(store().build_of(model::TaskId{id * 10}).value());
    EXPECT_TRUE(store().was_removed(model::TaskId{id * 10}).value());
  }
  EXPECT_EQ(store().list_builds(0, 10).value(), std::vector{model::BuildId{2}});
  EXPECT_EQ(store().read_build(model::BuildId{2}).value()->steps.size(), 1U) << "others stay whole";
  EXPECT_FALSE(store().was_removed(model::TaskId{20}).value());
  EXPECT_FALSE(store().was_removed(model::TaskId{31}).value()) << "never given out";
  const auto record = store().read_removed(model::BuildId{3}).value();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->repository, "local/hello");
  EXPECT_EQ(record->why, "kept for 1 day");
  EXPECT_EQ(record->removed_ms, 77);
  EXPECT_FALSE(store().read_removed(model::BuildId{2}).value());
  const Loaded loaded = store().load().value();
  EXPECT_EQ(loaded.last_build_id, 3) << "an id is never given out again";
  EXPECT_EQ(loaded.last_task_id, 30);
}

TEST_P(StoreContract, RemembersWhoseBytesHaveYetToGo) {
  Changes changes;
  for (const std::int64_t id : {1, 2, 3}) {
    changes.removed_builds.push_back(
        {model::BuildId{id}, "local/hello", id, "why", {model::TaskId{id}}, id});
  }
  ASSERT_TRUE(store().apply(changes).ok());
  EXPECT_EQ(ids_of(store().list_unswept(model::BuildId{0}, 2)), "1 2 ");
  EXPECT_EQ(ids_of(store().list_unswept(model::BuildId{2}, 2)), "3 ");
  changes.removed_builds[0].tasks.clear();
  changes.removed_builds.resize(1);
  ASSERT_TRUE(store().apply(changes).ok());
  reopen();
  EXPECT_EQ(ids_of(store().list_unswept(model::BuildId{0}, 10)), "2 3 ");
  EXPECT_EQ(store().list_unswept(model::BuildId{0}, 1).value().at(0).tasks,
            std::vector{model::TaskId{2}});
  EXPECT_EQ(store().removals().value().builds, 3);
  EXPECT_EQ(store().removals().value().last.id, model::BuildId{3});
}

}  // namespace cirrus::controller::store
