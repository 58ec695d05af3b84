// SPDX-License-Identifier: MIT
#include "base/fail_point.h"

#include <cstdio>
#include <string>

#include <gtest/gtest.h>

#include "base/testing/armed_fail_points.h"

namespace cirrus {

namespace {
class FailPoint : public testing::Test {
 protected:
  void TearDown() override {
    ASSERT_TRUE(arm_fail_points("").ok());
    set_fail_point_hook(nullptr);
  }
};
}  // namespace

TEST_F(FailPoint, DoesNothingWithoutATest) {
  EXPECT_TRUE(fail_point("test.point").ok());
  crash_point("test.point");
}

TEST_F(FailPoint, FailsTheTimeItWasToldTo) {
  ASSERT_TRUE(arm_fail_points("test.point=error@2,test.always=error@*").ok());
  EXPECT_TRUE(fail_point("test.point").ok());
  EXPECT_EQ(fail_point("test.point").error().code(), Code::Unavailable);
  EXPECT_TRUE(fail_point("test.point").ok());
  EXPECT_TRUE(fail_point("test.other").ok());
  EXPECT_FALSE(fail_point("test.always").ok());
  EXPECT_FALSE(fail_point("test.always").ok());
  EXPECT_EQ(fail_point_hits("test.point"), 3U);
  EXPECT_EQ(fail_point_hits("test.never"), 0U);
}

TEST_F(FailPoint, KillsTheProcess) {
  EXPECT_EXIT(
      {
        if (arm_fail_points("test.point=kill").ok()) crash_point("test.point");
      },
      testing::KilledBySignal(SIGKILL), "");
}

TEST_F(FailPoint, ListsWhatWasReached) {
  const std::string path = testing::TempDir() + "/fail-points.log";
  std::remove(path.c_str());
  ASSERT_TRUE(arm_fail_points("", path).ok());
  EXPECT_TRUE(fail_point("test.one").ok());
  crash_point("test.two");
  std::FILE* const file = std::fopen(path.c_str(), "r");
  ASSERT_NE(file, nullptr);
  char text[64] = {};
  const std::size_t size = std::fread(text, 1, sizeof(text), file);
  std::fclose(file);
  std::remove(path.c_str());
  EXPECT_EQ(std::string(text, size), "test.one\ntest.two\n");
}

TEST_F(FailPoint, RefusesWhatItCannotRead) {
  for (const char* bad : {"x", "x=", "=kill", "x=kill@0", "x=kill@1x", "x@1=kill", "x=stop", ","}) {
    EXPECT_EQ(parse_fail_points(bad).error().code(), Code::InvalidArgument) << bad;
  }
  EXPECT_TRUE(parse_fail_points("").value().empty());
  EXPECT_EQ(parse_fail_points("a=kill,b=error@7").value().at("b").nth, 7U);
}

}  // namespace cirrus
