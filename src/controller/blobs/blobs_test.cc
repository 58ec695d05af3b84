// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "controller/blobs/log_store.h"
#include "os/temp_dir.h"

namespace cirrus::controller::blobs {

namespace {
const model::TaskId kTask{7};

class LogStoreTest : public testing::Test {
 protected:
  os::TempDir directory_ = os::TempDir::create("blobs-test").value();
  LogStore logs_{Paths(directory_.path())};
};
}  // namespace

TEST(EncodeComponent, IsOneSafeComponentForAnyName) {
  EXPECT_EQ(encode_component("main"), "main");
  EXPECT_EQ(encode_component("a/b"), "a%2Fb");
  EXPECT_EQ(encode_component(".."), "%2E.");
  EXPECT_EQ(encode_component(""), "%");
  EXPECT_EQ(encode_component("%"), "%25");
  EXPECT_EQ(encode_component(std::string("\0\n", 2)), "%00%0A");
  const std::string a(300, 'x');
  EXPECT_LE(encode_component(a).size(), 200U);
  EXPECT_NE(encode_component(a), encode_component(a + "y"));
}

TEST_F(LogStoreTest, AppendsAndReadsRanges) {
  auto file = logs_.open(kTask, "main").value();
  EXPECT_EQ(file->append("hello ").value(), 6U);
  EXPECT_EQ(file->append("world").value(), 11U);
  EXPECT_EQ(logs_.read(kTask, "main", 6, 100).value(), "world");
  EXPECT_EQ(logs_.read(kTask, "main", 50, 100).value(), "");
  EXPECT_EQ(logs_.read(kTask, "never", 0, 100).value(), "");
  EXPECT_EQ(logs_.size(kTask, "main").value(), 11U);
}

TEST_F(LogStoreTest, DropsWhatItHasAndRefusesGaps) {
  auto file = logs_.open(kTask, "main").value();
  EXPECT_EQ(file->append_at(0, "abcd").value(), 4U);
  EXPECT_EQ(file->append_at(2, "cdef").value(), 6U);
  EXPECT_EQ(file->append_at(0, "ab").value(), 6U);
  EXPECT_EQ(file->append_at(7, "x").error().code(), Code::FailedPrecondition);
  EXPECT_EQ(logs_.read(kTask, "main", 0, 100).value(), "abcdef");
}

TEST_F(LogStoreTest, ContinuesAfterAReopen) {
  { EXPECT_TRUE(logs_.open(kTask, "main").value()->append("abc").ok()); }
  LogStore again{Paths(directory_.path())};
  EXPECT_EQ(again.open(kTask, "main").value()->stored(), 3U);
}

TEST_F(LogStoreTest, AReplacementShowsOnlyWhenCommitted) {
  ASSERT_TRUE(logs_.open(kTask, "main").value()->append("streamed").ok());
  {
    auto dropped = logs_.replace(kTask, "main").value();
    ASSERT_TRUE(dropped.append("cut").ok());
  }
  EXPECT_EQ(logs_.read(kTask, "main", 0, 100).value(), "streamed");
  auto saved = logs_.replace(kTask, "main").value();
  ASSERT_TRUE(saved.append("whole log").ok());
  ASSERT_TRUE(saved.commit().ok());
  EXPECT_EQ(logs_.read(kTask, "main", 0, 100).value(), "whole log");
  EXPECT_EQ(logs_.open(kTask, "main").value()->stored(), 9U);
}

TEST_F(LogStoreTest, KeepsNothingOfStepsThatNobodyWritesOrWatches) {
  auto first = logs_.open(kTask, "main").value();
  auto again = logs_.open(kTask, "main").value();
  auto watcher = logs_.watch(kTask, "main", [] {});
  auto other = logs_.watch(kTask, "other", [] {});
  EXPECT_EQ(logs_.in_use(), 2U);
  first.reset();
  again.reset();
  EXPECT_EQ(logs_.in_use(), 2U);
  watcher.reset();
  EXPECT_EQ(logs_.in_use(), 1U);
  other.reset();
  EXPECT_EQ(logs_.in_use(), 0U);
}

TEST_F(LogStoreTest, SyncsWhatIsThereAndOnlyThat) {
  auto file = logs_.open(kTask, "main").value();
  ASSERT_TRUE(file->append("abc").ok());
  EXPECT_EQ(file->sync().value(), 3U);
  EXPECT_TRUE(logs_.sync(kTask, "main").ok());
  EXPECT_TRUE(logs_.sync(kTask, "never").ok());
  EXPECT_TRUE(logs_.sync(kTask).ok());
  EXPECT_TRUE(logs_.sync(model::TaskId{77}).ok());
}

TEST_F(LogStoreTest, WakesWatchersUntilTheyLetGo) {
  int calls = 0;
  auto handle = logs_.watch(kTask, "main", [&] { ++calls; });
  auto file = logs_.open(kTask, "main").value();
  ASSERT_TRUE(file->append("a").ok());
  EXPECT_EQ(calls, 1);
  handle.reset();
  ASSERT_TRUE(file->append("b").ok());
  EXPECT_EQ(calls, 1);
}

}  // namespace cirrus::controller::blobs
