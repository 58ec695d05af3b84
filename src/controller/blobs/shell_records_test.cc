// SPDX-License-Identifier: MIT
#include "controller/blobs/shell_records.h"

#include <gtest/gtest.h>

#include "base/fail_point.h"
#include "controller/blobs/log_store.h"
#include "controller/blobs/retention.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller::blobs {

namespace {
const model::TaskId kTask{7};
constexpr char kShown[] = "\x1b[0m$ \0\xff\n2026-11-29 no header\n";
const WallTime kThen = from_unix_millis(1'764'427'200'000);

class ShellRecordsTest : public testing::Test {
 protected:
  std::string shown(int number) { return records_.read(kTask, number, 0, 1000).value(); }

  os::TempDir directory_ = os::TempDir::create("shell-records-test").value();
  const Paths paths_{directory_.path()};
  ShellRecords records_{paths_};
};
}  // namespace

TEST_F(ShellRecordsTest, KeepsWhatIsShownAndWhoSawIt) {
  EXPECT_TRUE(records_.list(kTask).value().empty());
  const auto first = records_.begin(kTask, "ops", kThen).value();
  const auto second = records_.begin(kTask, "holder of a secret at 127.0.0.1", kThen).value();
  EXPECT_EQ(first->number(), 1);
  EXPECT_EQ(second->number(), 2);
  const std::string bytes(kShown, sizeof(kShown) - 1);
  ASSERT_TRUE(first->append(bytes.substr(0, 5)).ok());
  EXPECT_EQ(shown(1), bytes.substr(0, 5)) << "also while it goes on";
  ASSERT_TRUE(first->append(bytes.substr(5)).ok());
  EXPECT_EQ(shown(1), bytes);
  EXPECT_EQ(shown(2), "");
  EXPECT_EQ(records_.read(kTask, 1, 5, 3).value(), bytes.substr(5, 3));
  EXPECT_EQ(records_.read(kTask, 1, ~0ULL, 3).value(), "");
  const auto all = records_.list(kTask).value();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].number, 1);
  EXPECT_EQ(all[0].opened_by, "ops");
  EXPECT_EQ(all[0].opened_at, to_rfc3339(kThen));
  EXPECT_EQ(all[0].bytes, bytes.size());
  EXPECT_EQ(all[1].opened_by, "holder of a secret at 127.0.0.1");
  EXPECT_EQ(all[1].bytes, 0U);
}

TEST_F(ShellRecordsTest, NoStepsLogIsTakenForARecording) {
  LogStore logs(paths_);
  for (const char* step : {"%shell-1", "shell-1", "main"}) {
    ASSERT_TRUE(logs.open(kTask, step).value()->append("log").ok());
  }
  ASSERT_TRUE(os::write_file(paths_.logs_of(kTask) / "%shell-1x", "").ok());
  ASSERT_TRUE(os::write_file(paths_.logs_of(kTask) / "%shell-0", "").ok());
  EXPECT_TRUE(records_.list(kTask).value().empty());
  const auto record = records_.begin(kTask, "ops", kThen).value();
  ASSERT_TRUE(record->append("shown").ok());
  EXPECT_EQ(logs.read(kTask, "%shell-1", 0, 100).value(), "log");
  EXPECT_EQ(shown(1), "shown");
}

TEST_F(ShellRecordsTest, OneThatWasNotOpenedLeavesNothing) {
  records_.begin(kTask, "ops", kThen).value()->discard();
  EXPECT_TRUE(records_.list(kTask).value().empty());
  EXPECT_EQ(records_.begin(kTask, "ops", kThen).value()->number(), 1);
}

TEST_F(ShellRecordsTest, ATaskHasSoManyAndNoMore) {
  ASSERT_TRUE(os::make_directories(paths_.logs_of(kTask)).ok());
  ASSERT_TRUE(os::write_file(paths_.shell_record(kTask, ShellRecords::kMost - 1), "").ok());
  EXPECT_EQ(records_.begin(kTask, "ops", kThen).value()->number(), ShellRecords::kMost);
  const auto refused = records_.begin(kTask, "ops", kThen);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::ResourceExhausted);
  EXPECT_NE(refused.error().to_string().find("1000 recordings"), std::string::npos);
}

TEST_F(ShellRecordsTest, AFullDiskIsSaid) {
  const auto record = records_.begin(kTask, "ops", kThen).value();
  set_fail_point_hook([](const char* name) -> Status {
    if (std::string_view(name) != "shells.write.before") return {};
    return error(Code::ResourceExhausted, "no space left on device");
  });
  const Status taken = record->append("lost");
  const auto refused = records_.begin(kTask, "ops", kThen);
  set_fail_point_hook(nullptr);
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(
      taken.error().to_string(),
      "shells in task 7 are recorded, and this one ends because it cannot be: no space left on "
      "device");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().to_string(),
            "shells in task 7 are recorded, and this one cannot be: no space left on device");
  EXPECT_EQ(records_.list(kTask).value().size(), 1U) << "what could not begin left nothing";
}

TEST_F(ShellRecordsTest, ARecordWithoutAHeaderIsShownAllTheSame) {
  ASSERT_TRUE(os::make_directories(paths_.logs_of(kTask)).ok());
  ASSERT_TRUE(os::write_file(paths_.shell_record(kTask, 1), "").ok());
  ASSERT_TRUE(os::write_file(paths_.shell_record(kTask, 2), std::string(600, 'x')).ok());
  const auto all = records_.list(kTask).value();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].opened_at, "");
  EXPECT_EQ(all[1].bytes, 600U);
  EXPECT_EQ(shown(2), std::string(600, 'x'));
}

TEST_F(ShellRecordsTest, GoWithTheLogsOfTheirTask) {
  EXPECT_EQ(records_.read(kTask, 1, 0, 10).error().code(), Code::NotFound);
  ASSERT_TRUE(records_.begin(kTask, "ops", kThen).value()->append("shown").ok());
  CacheStore caches(paths_, system_clock());
  RetentionLimits limits;
  limits.log_bytes = 1;
  limits.untouchable = std::chrono::hours(-1);
  limits.least_free_bytes = 0;
  Retention retention(paths_, system_clock(), caches, limits);
  ASSERT_EQ(retention.sweep([] { return ~0ULL; }, {}).value().logs, 1U);
  EXPECT_TRUE(records_.list(kTask).value().empty());
  const auto gone = records_.read(kTask, 1, 0, 10);
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().code(), Code::NotFound);
  EXPECT_TRUE(gone.error().message().starts_with("Removed on ")) << gone.error().message();
}

}  // namespace cirrus::controller::blobs
