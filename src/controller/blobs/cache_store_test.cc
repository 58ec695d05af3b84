// SPDX-License-Identifier: MIT
#include "controller/blobs/cache_store.h"

#include <fstream>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller::blobs {
namespace {

class CacheStoreTest : public ::testing::Test {
 protected:
  CacheStoreTest() { reopen(); }
  void reopen(CacheLimits limits = {}) { store_.emplace(paths_, clock_, limits); }

  void put(const std::string& repository, const std::string& key, const std::string& content) {
    CacheUpload upload = store_->create(repository, key, "7").value();
    ASSERT_TRUE(upload.append(content).ok());
    const Status stored = upload.commit();
    ASSERT_TRUE(stored.ok()) << stored.error().to_string();
    clock_.advance(std::chrono::seconds(1));
  }
  std::string get(const std::string& repository, const std::string& key) {
    const Result<CacheReader> reader = store_->open(repository, key);
    return reader.ok() ? reader.value().read(0, 1 << 20).value() : "absent";
  }

  os::TempDir root_ = os::TempDir::create("cirrus-cache-store").value();
  Paths paths_{root_.path()};
  ManualClock clock_;
  std::optional<CacheStore> store_;
};

TEST_F(CacheStoreTest, KeepsWhatWasCommittedAlsoAfterARestart) {
  put("o/r", "key with / and \xff", "content");
  reopen();
  EXPECT_EQ(get("o/r", "key with / and \xff"), "content");
  const auto found = store_->find("o/r", "key with / and \xff", {}).value();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->bytes, 7U);
  EXPECT_EQ(found->created_by_task, "7");
}

TEST_F(CacheStoreTest, ShowsNothingBeforeTheCommitAndLeavesNothingWithoutIt) {
  {
    CacheUpload upload = store_->create("o/r", "k", "7").value();
    ASSERT_TRUE(upload.append("half").ok());
    EXPECT_EQ(get("o/r", "k"), "absent");
  }
  EXPECT_TRUE(std::filesystem::is_empty(paths_.temporary()));
}

TEST_F(CacheStoreTest, TheLastWriterWinsAndReadersKeepWhatTheyOpened) {
  put("o/r", "k", "first");
  const CacheReader reader = store_->open("o/r", "k").value();
  put("o/r", "k", "second");
  EXPECT_EQ(reader.read(0, 100).value(), "first");
  EXPECT_EQ(get("o/r", "k"), "second");
  EXPECT_EQ(store_->list("o/r").value().size(), 1U);
}

TEST_F(CacheStoreTest, FindsTheNewestOfTheFirstPrefixThatHasAny) {
  put("o/r", "node-1", "a");
  put("o/r", "node-2", "b");
  put("o/r", "other-1", "c");
  EXPECT_EQ(store_->find("o/r", "node-1", {"other-"}).value()->key, "node-1");
  EXPECT_EQ(store_->find("o/r", "node-9", {"none-", "node-", "other-"}).value()->key, "node-2");
  EXPECT_FALSE(store_->find("o/r", "node-9", {"x"}).value());
}

TEST_F(CacheStoreTest, T04_RepositoriesDoNotSeeEachOther) {
  put("o/r", "k", "mine");
  EXPECT_EQ(get("o/r2", "k"), "absent");
  EXPECT_EQ(get("o2/r", "k"), "absent");
  EXPECT_FALSE(store_->find("o/r2", "k", {""}).value());
  EXPECT_TRUE(store_->list("../o/r").value().empty());
}

TEST_F(CacheStoreTest, RefusesKeysNobodyNeeds) {
  EXPECT_EQ(store_->create("o/r", "", "7").error().code(), Code::InvalidArgument);
  EXPECT_EQ(store_->create("o/r", std::string(1025, 'k'), "7").error().code(),
            Code::InvalidArgument);
}

TEST_F(CacheStoreTest, ACacheOverTheLimitIsRefusedWhole) {
  reopen({.total_bytes = 1000, .entry_bytes = 10, .unused = std::chrono::hours(1)});
  CacheUpload upload = store_->create("o/r", "k", "7").value();
  ASSERT_TRUE(upload.append("0123456789").ok());
  EXPECT_EQ(upload.append("x").error().code(), Code::ResourceExhausted);
}

TEST_F(CacheStoreTest, EvictsTheLongestUnusedAndTheOld) {
  reopen({.total_bytes = 25, .entry_bytes = 100, .unused = std::chrono::hours(1)});
  put("o/r", "a", "0123456789");
  put("o/r", "b", "0123456789");
  EXPECT_EQ(get("o/r", "a"), "0123456789");  // used just now
  clock_.advance(std::chrono::seconds(1));
  put("o/r", "c", "0123456789");
  EXPECT_EQ(get("o/r", "b"), "absent");
  EXPECT_EQ(get("o/r", "a"), "0123456789");
  clock_.advance(std::chrono::hours(2));
  ASSERT_TRUE(store_->evict().ok());
  EXPECT_TRUE(store_->list("o/r").value().empty());
}

TEST_F(CacheStoreTest, RemovesAndToleratesWhatIsGone) {
  put("o/r", "k", "x");
  EXPECT_TRUE(store_->remove("o/r", "k").ok());
  EXPECT_TRUE(store_->remove("o/r", "k").ok());
  EXPECT_EQ(get("o/r", "k"), "absent");
}

TEST_F(CacheStoreTest, ADamagedFileIsLeftAloneAndNotRead) {
  put("o/r", "k", "x");
  for (const auto& file : std::filesystem::recursive_directory_iterator(paths_.caches())) {
    if (file.is_regular_file()) std::ofstream(file.path()) << "CIRRUSC1\xff\xff\xff\xff";
  }
  reopen();
  EXPECT_EQ(store_->open("o/r", "k").error().code(), Code::DataLoss);
  EXPECT_TRUE(store_->list("o/r").value().empty());
}

}  // namespace
}  // namespace cirrus::controller::blobs
