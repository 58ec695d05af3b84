// SPDX-License-Identifier: MIT
#include "controller/core/refusal_limiter.h"

#include <gtest/gtest.h>

#include "controller/core/actor.h"

namespace cirrus::controller::core {

TEST(RefusalLimiter, LimitsOneSourceForTheRestOfItsWindow) {
  RefusalLimiter limiter({2, std::chrono::seconds(60), 16});
  const Monotonic start{};
  EXPECT_FALSE(limiter.refused("a", start).limited);
  EXPECT_FALSE(limiter.refused("a", start).limited);
  const auto third = limiter.refused("a", start + std::chrono::seconds(10));
  EXPECT_TRUE(third.limited);
  EXPECT_TRUE(third.first);
  EXPECT_EQ(third.again, std::chrono::seconds(51));
  EXPECT_FALSE(limiter.refused("a", start + std::chrono::seconds(11)).first);
  EXPECT_FALSE(limiter.refused("b", start).limited) << "another source";
  EXPECT_FALSE(limiter.refused("a", start + std::chrono::seconds(60)).limited) << "a new window";
}

TEST(RefusalLimiter, RemembersABoundedNumberOfSources) {
  RefusalLimiter limiter({0, std::chrono::seconds(60), 8});
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(limiter.refused(std::to_string(i), {}).first);
  EXPECT_FALSE(limiter.refused("7", {}).first);
  EXPECT_TRUE(limiter.refused("new", {}).first);
  EXPECT_TRUE(limiter.refused("7", {}).first) << "counting started over";
}

TEST(Actor, ActsOnWhatItsPatternsCover) {
  const struct {
    const char* name;
    std::vector<std::string> patterns;
    const char* repository;
    bool covered;
  } cases[] = {
      {"one by name", {"acme/app"}, "acme/app", true},
      {"another name", {"acme/app"}, "acme/app2", false},
      {"an owner", {"acme/*"}, "acme/app", true},
      {"an owner that begins alike", {"acme/*"}, "acme2/app", false},
      {"everything", {"x/y", "*"}, "acme/app", true},
      {"nothing", {}, "acme/app", false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Actor actor("a");
    actor.repositories = c.patterns;
    EXPECT_EQ(actor.check_may_act_on(c.repository).ok(), c.covered);
  }
  for (const char* bad : {"", "acme", "*/app", "a*/b", "acme/a*", "a/b/c", "../*"}) {
    EXPECT_FALSE(check_repository_pattern(bad).ok()) << bad;
  }
  for (const char* good : {"*", "acme/*", "acme/app"}) {
    EXPECT_TRUE(check_repository_pattern(good).ok()) << good;
  }
}

}  // namespace cirrus::controller::core
