// SPDX-License-Identifier: MIT
#include "model/safe_name.h"

#include <gtest/gtest.h>

#include "model/entity_ids.h"

namespace cirrus::model {

TEST(SafeName, TakesOnlyWhatIsSafeEverywhere) {
  for (const char* good : {"a", "linux-1", "A.b_c", "0"}) {
    EXPECT_TRUE(SafeName::create(good, "name").ok()) << good;
  }
  for (const char* bad : {"", ".", "..", "-x", ".x", "a/b", "a b", "a\nb", "ä", "a%2e"}) {
    EXPECT_FALSE(SafeName::create(bad, "name").ok()) << bad;
  }
  EXPECT_FALSE(SafeName::create(std::string(129, 'x'), "name").ok());
}

TEST(RepositoryName, HasTwoSafeHalves) {
  const auto name = RepositoryName::create("local/hello");
  ASSERT_TRUE(name.ok());
  EXPECT_EQ(name.value().owner(), "local");
  EXPECT_EQ(name.value().full(), "local/hello");
  for (const char* bad : {"", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/b.git"}) {
    EXPECT_FALSE(RepositoryName::create(bad).ok()) << bad;
  }
}

TEST(CheckCommit, WantsAFullObjectId) {
  EXPECT_TRUE(check_commit(std::string(40, 'a')).ok());
  EXPECT_TRUE(check_commit(std::string(64, '0')).ok());
  EXPECT_FALSE(check_commit("abc").ok());
  EXPECT_FALSE(check_commit(std::string(40, 'A')).ok());
  EXPECT_FALSE(check_commit("--upload-pack=xxxxxxxxxxxxxxxxxxxxxxxxxxx").ok());
}

TEST(EntityId, IsAPositiveDecimal) {
  EXPECT_EQ(TaskId::parse("42").value().value, 42);
  for (const char* bad : {"", "0", "-1", "+1", " 1", "1 ", "1x", "9223372036854775808"}) {
    EXPECT_FALSE(TaskId::parse(bad).ok()) << bad;
  }
}

}  // namespace cirrus::model
