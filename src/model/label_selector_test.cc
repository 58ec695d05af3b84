// SPDX-License-Identifier: MIT
#include "model/label_selector.h"

#include <gtest/gtest.h>

namespace cirrus::model {

TEST(LabelSelector, NamesTheFirstDemandAWorkerFails) {
  const struct {
    const char* name;
    Labels wanted;
    Labels offered;
    std::optional<std::string> failing_key;
  } cases[] = {
      {"no demands match anything", {}, {{"os", "linux"}}, std::nullopt},
      {"spare labels are ignored", {{"os", "x"}}, {{"gpu", "1"}, {"os", "x"}}, std::nullopt},
      {"values are case-sensitive", {{"os", "linux"}}, {{"os", "Linux"}}, "os"},
      {"absence fails, first key wins", {{"arch", "arm64"}, {"os", "x"}}, {{"os", "y"}}, "arch"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Result<LabelSelector> selector = LabelSelector::create(c.wanted);
    ASSERT_TRUE(selector.ok());
    const auto mismatch = selector.value().first_mismatch(c.offered);
    EXPECT_EQ(mismatch ? std::optional(mismatch->key) : std::nullopt, c.failing_key);
  }
}

TEST(LabelSelector, RefusesEmptyAndOverlongLabels) {
  EXPECT_FALSE(LabelSelector::create({{"", "x"}}).ok());
  EXPECT_FALSE(LabelSelector::create({{"k", std::string(257, 'x')}}).ok());
}

}  // namespace cirrus::model
