// SPDX-License-Identifier: MIT
#include "controller/blobs/retention.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <gtest/gtest.h>

#include "controller/blobs/artifact_store.h"
#include "controller/blobs/log_store.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller::blobs {

namespace {
using std::chrono::hours;

class RetentionTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& folder : {paths_.logs(), paths_.artifacts(), paths_.temporary()}) {
      ASSERT_TRUE(os::make_directories(folder).ok());
    }
  }
  void log(std::int64_t task, const std::string& text, hours ago) {
    const model::TaskId id{task};
    ASSERT_TRUE(logs_.open(id, "main").value()->append(text).ok());
    age(paths_.log(id, "main"), ago);
  }
  void artifact(std::int64_t task, const std::string& text, hours ago) {
    const model::TaskId id{task};
    ArtifactUpload upload = artifacts_.create(id, "out", "", "").value();
    ASSERT_TRUE(upload.append("a.txt", text).ok());
    ASSERT_TRUE(upload.commit().ok());
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(paths_.artifacts_of(id))) {
      if (entry.is_regular_file()) age(entry.path(), ago);
    }
  }
  static void age(const std::filesystem::path& file, hours ago) {
    const std::int64_t then = to_unix_millis(system_clock().wall() - ago) / 1000;
    const timespec times[2] = {{then, 0}, {then, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  }
  RetentionReport sweep(RetentionLimits limits, std::uint64_t free = ~0ULL) {
    Retention retention(paths_, system_clock(), caches_, limits);
    const auto report = retention.sweep([free] { return free; }, {});
    EXPECT_TRUE(report.ok()) << report.error().to_string();
    return report.value();
  }
  std::string text(std::int64_t task) {
    return logs_.read(model::TaskId{task}, "main", 0, 1000).value();
  }

  os::TempDir directory_ = os::TempDir::create("retention").value();
  Paths paths_{directory_.path()};
  LogStore logs_{paths_};
  ArtifactStore artifacts_{paths_};
  CacheStore caches_{paths_, system_clock()};
};
}  // namespace

TEST_F(RetentionTest, OldLogsAndArtifactsGoAndSayWhy) {
  log(1, "old", hours(24 * 91));
  log(2, "young", hours(24 * 89));
  artifact(1, "old", hours(24 * 91));
  artifact(2, "young", hours(24 * 89));
  const RetentionReport report = sweep({});
  EXPECT_EQ(report.logs, 1U);
  EXPECT_EQ(report.artifacts, 1U);
  EXPECT_NE(text(1).find("Removed on 2"), std::string::npos) << text(1);
  EXPECT_NE(text(1).find("kept for 90 days"), std::string::npos) << text(1);
  EXPECT_EQ(logs_.read(model::TaskId{1}, "main", 1000, 10).value(), "");
  EXPECT_EQ(text(2), "young");
  EXPECT_TRUE(artifacts_.list(model::TaskId{1}).value().empty());
  EXPECT_NE(artifacts_.open(model::TaskId{1}, "out", "a.txt").error().message().find("90 days"),
            std::string::npos);
  EXPECT_TRUE(artifacts_.open(model::TaskId{2}, "out", "a.txt").ok());
  EXPECT_EQ(sweep({}).logs, 0U) << "a marker is not removed again";
}

TEST_F(RetentionTest, TheOldestGoUntilTheRestFits) {
  for (int i = 1; i <= 5; ++i) log(i, std::string(100, 'x'), hours(100 - i));
  RetentionLimits limits;
  limits.log_bytes = 250;
  EXPECT_EQ(sweep(limits).logs, 3U);
  EXPECT_EQ(text(3).substr(0, 7), "Removed");
  EXPECT_EQ(text(4), std::string(100, 'x'));
}

TEST_F(RetentionTest, AFullDiskTakesEverythingButWhatIsNew) {
  log(1, "old", hours(5));
  artifact(2, "old", hours(5));
  log(3, "new", hours(0));
  const RetentionReport report = sweep({}, 100);
  EXPECT_EQ(report.logs + report.artifacts, 2U);
  EXPECT_TRUE(report.still_low);
  EXPECT_NE(text(1).find("nearly full"), std::string::npos);
  EXPECT_EQ(text(3), "new");
}

TEST_F(RetentionTest, ZeroKeepsForEver) {
  log(1, "ancient", hours(24 * 4000));
  RetentionLimits limits;
  limits.logs = hours(0);
  EXPECT_EQ(sweep(limits).logs, 0U);
  EXPECT_EQ(text(1), "ancient");
}

}  // namespace cirrus::controller::blobs
