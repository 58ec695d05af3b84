// SPDX-License-Identifier: MIT
#include "controller/build_retention.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "controller/core/testing/state_harness.h"
#include "controller/store/sqlite_store.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller {

namespace {
using std::chrono::hours;

class BuildRetentionTest : public testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    core_.reset();
    store_ = store::open_sqlite_store(paths_.database()).value();
    core::StateOptions options;
    options.make_secret = [] { return std::string("secret"); };
    core_ = core::Core::start(*store_, clock_, std::move(options)).value();
  }
  /// A build of one task with bytes of every kind, ended so long ago.
  void ended(std::int64_t id, hours ago, model::BuildStatus status = model::BuildStatus::Failed,
             bool holds_worker = false) {
    store::Changes changes;
    store::BuildRecord build;
    build.id = model::BuildId{id};
    build.repository = "local/x";
    build.branch = "main";
    build.status = status;
    build.finished_ms = to_unix_millis(clock_.wall() - ago);
    store::TaskRecord task;
    task.id = model::TaskId{id + 100};
    task.build = build.id;
    task.status = model::TaskStatus::Failed;
    task.holds_worker = holds_worker;
    changes.builds = {build};
    changes.definitions = {{build.id, 0, {}, core::StateHarness::task(0, "t").SerializeAsString()}};
    changes.tasks = {task};
    ASSERT_TRUE(store_->apply(changes).ok());
    for (const auto& folder : folders(id)) {
      ASSERT_TRUE(os::make_directories(folder).ok());
      ASSERT_TRUE(os::write_file(folder / "main", "bytes").ok());
    }
  }
  std::vector<std::filesystem::path> folders(std::int64_t id) const {
    const model::TaskId task{id + 100};
    return {paths_.logs_of(task), paths_.artifacts_of(task), paths_.reports_of(task)};
  }
  bool has_bytes(std::int64_t id) const {
    const auto all = folders(id);
    return std::any_of(all.begin(), all.end(),
                       [](const auto& folder) { return std::filesystem::exists(folder); });
  }
  core::State::Removed offered() {
    return store_->list_removable({to_unix_millis(clock_.wall()), 0, 10}).value();
  }
  BuildRetentionReport sweep(const BuildLimits& limits) {
    const auto report = BuildRetention(*core_, paths_, limits).sweep({});
    EXPECT_TRUE(report.ok()) << report.error().to_string();
    return report.ok() ? report.value() : BuildRetentionReport();
  }
  std::string kept() {
    std::string text;
    const auto ids = store_->list_builds(0, 1000);
    for (const model::BuildId id : ids.value()) text += id.to_string() + " ";
    return text;
  }

  os::TempDir directory_ = os::TempDir::create("build-retention").value();
  blobs::Paths paths_{directory_.path()};
  ManualClock clock_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<core::Core> core_;
};
}  // namespace

TEST_F(BuildRetentionTest, OldBuildsGoInBatchesWithAllThatIsTheirs) {
  for (int i = 1; i <= 7; ++i) ended(i, hours(24 * 366));
  ended(8, hours(24 * 364));
  BuildLimits limits;
  limits.batch = 3;
  const BuildRetentionReport report = sweep(limits);
  EXPECT_EQ(report.builds, 7U);
  EXPECT_EQ(report.tasks, 7U);
  EXPECT_EQ(kept(), "8 ");
  for (int i = 1; i <= 7; ++i) EXPECT_FALSE(has_bytes(i)) << i;
  EXPECT_TRUE(has_bytes(8));
  EXPECT_EQ(store_->read_removed(model::BuildId{7}).value()->why,
            "finished builds are kept for 365 days");
  EXPECT_TRUE(store_->list_unswept({}, 10).value().empty());
  store::AuditQuery query;
  query.action = "build.remove";
  const auto audit = store_->list_audit(query).value();
  ASSERT_EQ(audit.size(), 3U) << "one entry for each batch";
  EXPECT_EQ(audit[2].actor, "retention");
  EXPECT_EQ(audit[2].subject, "3 of 1 to 3: finished builds are kept for 365 days");
  EXPECT_EQ(sweep(limits).builds, 0U);
}

TEST_F(BuildRetentionTest, BeyondTheirNumberTheOldestGoButNothingOfTheLastHour) {
  for (int i = 1; i <= 5; ++i) ended(i, i == 3 ? hours(0) : hours(2));
  BuildLimits limits;
  limits.age = hours(0);
  limits.most = 2;
  EXPECT_EQ(sweep(limits).builds, 2U);
  EXPECT_EQ(kept(), "5 4 3 ");
  EXPECT_EQ(store_->read_removed(model::BuildId{1}).value()->why,
            "only the newest 2 builds are kept");
}

TEST_F(BuildRetentionTest, WhatGoesOnOrIsTheLastGoodOneStays) {
  ended(1, hours(24 * 4000), model::BuildStatus::Completed);
  ended(2, hours(24 * 4000), model::BuildStatus::Completed);
  ended(3, hours(24 * 4000), model::BuildStatus::Executing);
  ended(4, hours(24 * 4000), model::BuildStatus::Aborted, true);
  BuildLimits limits;
  limits.most = 1;
  EXPECT_EQ(sweep(limits).builds, 1U);
  EXPECT_EQ(kept(), "4 3 2 ");
  limits = {};
  limits.age = hours(0);
  ended(5, hours(24 * 4000));
  EXPECT_EQ(sweep(limits).builds, 0U) << "0 keeps for ever";
}

TEST_F(BuildRetentionTest, ABuildThatRunsAgainMeanwhileStays) {
  ended(1, hours(24 * 4000));
  open();  // so that the core knows which ids are taken
  const core::State::Removed found = offered();
  ASSERT_EQ(found.size(), 1U);
  const store::BuildRows rows = *store_->read_build(model::BuildId{1}).value();
  const auto remove = [&] {
    return core_
        ->ask<core::State::Removed>(
            [&](core::State& state, core::Reply<core::State::Removed> reply, core::Moment now) {
              state.remove_builds(found, "test", std::move(reply), now);
            })
        .value();
  };
  const auto rerun = [&] {
    return core_->ask<model::TaskId>(
        [&](core::State& state, core::Reply<model::TaskId> reply, core::Moment now) {
          state.adopt_build(rows, now);
          state.rerun_task(model::TaskId{101}, "test", std::move(reply), now);
        });
  };
  ASSERT_TRUE(rerun().ok());
  EXPECT_TRUE(remove().empty());
  ASSERT_TRUE(core_
                  ->ask<void>([&](core::State& state, core::Reply<void> reply, core::Moment now) {
                    state.cancel_build(model::BuildId{1}, "test", std::move(reply), now);
                  })
                  .ok());
  const core::State::Removed gone = remove();
  ASSERT_EQ(gone.size(), 1U);
  const std::vector<model::TaskId> both = {model::TaskId{101}, model::TaskId{102}};
  EXPECT_EQ(gone[0].tasks, both) << "also the attempt made since it was offered";
  // A request that read the rows before they went must not bring half of them back.
  EXPECT_EQ(rerun().error().code(), Code::NotFound);
  EXPECT_EQ(kept(), "");
  EXPECT_FALSE(store_->read_task(model::TaskId{102}).value());
}

TEST_F(BuildRetentionTest, WhatACrashLeftBehindGoesWithTheNextSweep) {
  ended(1, hours(24 * 366));
  store::Changes changes;
  changes.removed_builds = offered();
  ASSERT_TRUE(store_->apply(changes).ok());
  open();
  ASSERT_TRUE(has_bytes(1));
  EXPECT_EQ(sweep({}).tasks, 1U);
  EXPECT_FALSE(has_bytes(1));
  EXPECT_EQ(sweep({}).tasks, 0U);
}

}  // namespace cirrus::controller
