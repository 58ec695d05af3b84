// SPDX-License-Identifier: MIT
#include "controller/blobs/disk_watermark.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "controller/blobs/stores.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller::blobs {

namespace {
constexpr std::uint64_t kMebibyte = 1U << 20U;

class DiskWatermarkTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(os::make_directories(stores_.paths.logs()).ok()); }

  os::TempDir directory_ = os::TempDir::create("watermark").value();
  std::uint64_t free_ = 1000 * kMebibyte;
  Stores stores_{Paths(directory_.path()),
                 system_clock(),
                 {[this]() -> Result<std::uint64_t> { return free_; }, 512 * kMebibyte}};
};
}  // namespace

TEST_F(DiskWatermarkTest, RefusesNewUploadsWithTheFiguresAndStillTakesLogs) {
  EXPECT_FALSE(stores_.disk.refusal());
  free_ = 100 * kMebibyte;
  const auto cache = stores_.caches.create("o/r", "k", "7");
  ASSERT_FALSE(cache.ok());
  EXPECT_EQ(cache.error().code(), Code::ResourceExhausted);
  EXPECT_EQ(cache.error().message(),
            "the controller's disk has 100 MB free and caches and artifacts need 512 MB "
            "(--uploads-least-free): free space there, or keep less; logs and results are still "
            "taken");
  EXPECT_EQ(stores_.artifacts.create(model::TaskId{7}, "out", "", "").error().code(),
            Code::ResourceExhausted);
  EXPECT_EQ(stores_.disk.refused(), 2U);
  EXPECT_TRUE(stores_.disk.refusal());
  EXPECT_EQ(stores_.disk.notice(),
            "the controller's disk is nearly full: caches and artifacts are refused until 512 MB "
            "are free (--uploads-least-free); logs and results are still taken");
  EXPECT_TRUE(stores_.logs.open(model::TaskId{7}, "main").value()->append("hello").ok());
  EXPECT_FALSE(std::filesystem::exists(stores_.paths.temporary()))
      << "nothing is left of what was refused";
  free_ = 512 * kMebibyte;
  EXPECT_FALSE(stores_.disk.notice());
  EXPECT_TRUE(stores_.caches.create("o/r", "k", "7").ok());
}

TEST_F(DiskWatermarkTest, CutsOffWhatIsUnderWay) {
  auto cache = stores_.caches.create("o/r", "k", "7");
  auto artifact = stores_.artifacts.create(model::TaskId{7}, "out", "", "");
  ASSERT_TRUE(cache.ok() && artifact.ok());
  free_ = 100 * kMebibyte;
  const std::string piece(kMebibyte, 'x');
  Status taken;
  int pieces = 0;
  while (taken.ok() && pieces < 100) {
    taken = cache.value().append(piece);
    ++pieces;
  }
  EXPECT_EQ(pieces, 16) << "it looks every 16 MiB";
  EXPECT_EQ(taken.error().code(), Code::ResourceExhausted);
  taken = {};
  for (pieces = 0; taken.ok() && pieces < 100; ++pieces) {
    taken = artifact.value().append("file", piece);
  }
  EXPECT_EQ(pieces, 16);
}

TEST(DiskWatermark, WithoutALimitOrAnAnswerEverythingIsTaken) {
  const DiskWatermark unlimited([]() -> Result<std::uint64_t> { return std::uint64_t{0}; }, 0);
  EXPECT_TRUE(unlimited.admit().ok());
  const DiskWatermark unknown(
      []() -> Result<std::uint64_t> { return error(Code::Unavailable, "no answer"); }, kMebibyte);
  EXPECT_TRUE(unknown.admit().ok());
  EXPECT_FALSE(unknown.free_bytes());
}

}  // namespace cirrus::controller::blobs
