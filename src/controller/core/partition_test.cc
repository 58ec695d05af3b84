// SPDX-License-Identifier: MIT
// T19: a worker and its controller lose each other, for a second or an hour, and meet again.
#include <gtest/gtest.h>

#include "controller/core/testing/state_harness.h"

namespace cirrus::controller::core {

namespace {
using model::StepStatus;
using model::TaskStatus;

Result<LogPermit> permit(StateHarness& h, const TaskCredential& task) {
  return h.ask<LogPermit>(
      [&](State& s, auto reply, Moment now) { s.log_permit(task, "main", std::move(reply), now); });
}
}  // namespace

TEST(T19_Partition, ShorterThanLostAfterTheAttemptGoesOnAsIfNothingHadBeen) {
  for (const int seconds : {1, 30, 59, 61, 300, 590}) {
    for (const bool restarted : {false, true}) {
      SCOPED_TRACE(fmt::format("{} s{}", seconds, restarted ? ", the controller restarted" : ""));
      StateHarness h;
      ASSERT_TRUE(h.register_worker("w").ok());
      const auto id = h.submit({h.task(0, "a")});
      const auto task = h.of(h.poll("w")->tasks().at(0));
      ASSERT_TRUE(h.started("w", task).ok());
      const auto before = permit(h, task);
      ASSERT_TRUE(before.ok());
      if (restarted) h.restart();
      h.pass(std::chrono::seconds(seconds));
      EXPECT_EQ(h.current(id, "a").unreachable, seconds > 60);
      h.poll("w", {task.id});
      EXPECT_FALSE(h.current(id, "a").unreachable);
      const auto after = permit(h, task);
      ASSERT_TRUE(after.ok());
      EXPECT_TRUE(after.value().gate->open) << "its bytes count";
      if (!restarted) {
        EXPECT_EQ(after.value().gate, before.value().gate);
      }
      ASSERT_TRUE(h.finished(task, StepStatus::Completed).ok());
      ASSERT_TRUE(h.stopped("w", task).ok());
      EXPECT_EQ(h.current(id, "a").status, TaskStatus::Completed);
      EXPECT_EQ(h.current(id, "a").attempt, 1);
    }
  }
}

TEST(T19_Partition, LongerThanLostAfterTheOldAttemptIsFencedAndToldToStop) {
  for (const bool restarted : {false, true}) {
    SCOPED_TRACE(restarted);
    StateHarness h;
    ASSERT_TRUE(h.register_worker("w1").ok());
    ASSERT_TRUE(h.register_worker("w2").ok());
    const auto id = h.submit({h.task(0, "a")});
    const auto old = h.of(h.poll("w1")->tasks().at(0));
    ASSERT_TRUE(h.started("w1", old).ok());
    const auto open = permit(h, old);
    ASSERT_TRUE(open.ok());
    std::shared_ptr<PollSlot> other = h.poll("w2");
    int minute = 0;
    for (; minute < 60 && other->tasks().empty(); ++minute) {
      if (other->answered()) other = h.poll("w2");
      h.pass(std::chrono::minutes(1));
    }
    ASSERT_EQ(other->tasks().size(), 1U) << "it runs again elsewhere";
    const auto fresh = h.of(other->tasks().at(0));
    ASSERT_TRUE(h.started("w2", fresh).ok());
    for (; minute < 40; ++minute) {  // within the task's own time
      h.poll("w2", {fresh.id});
      h.pass(std::chrono::minutes(1));
    }
    EXPECT_FALSE(open.value().gate->open) << "a stream that is still open is cut off, too";
    if (restarted) h.restart();
    // Healed. What the old attempt says is taken without effect; its logs are not.
    EXPECT_TRUE(h.finished(old, StepStatus::Failed).ok());
    const auto late = permit(h, old);
    EXPECT_TRUE(!late.ok() || !late.value().gate->open);
    EXPECT_FALSE(h.ask<BlobPermit>([&](State& s, auto reply, Moment now) {
                    s.blob_permit(old, std::move(reply), now);
                  }).ok());
    EXPECT_EQ(h.poll("w1", {old.id})->stops(), std::vector<std::string>{old.id});
    EXPECT_TRUE(h.stopped("w1", old).ok());
    EXPECT_EQ(h.current(id, "a").status, TaskStatus::Executing);
    ASSERT_TRUE(h.finished(fresh, StepStatus::Completed).ok());
    EXPECT_EQ(h.current(id, "a").status, TaskStatus::Completed);
    EXPECT_EQ(h.current(id, "a").attempt, 2);
  }
}

TEST(T19_Partition, AClockThatJumpsIsNoSilence) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  const auto task = h.of(h.poll("w")->tasks().at(0));
  ASSERT_TRUE(h.started("w", task).ok());
  h.clock.jump_wall(std::chrono::hours(24 * 365 * 4));
  h.pass(std::chrono::seconds(1));
  h.clock.jump_wall(-std::chrono::hours(24 * 365 * 8));
  h.pass(std::chrono::seconds(1));
  EXPECT_FALSE(h.current(id, "a").unreachable);
  ASSERT_TRUE(h.finished(task, StepStatus::Completed).ok());
  EXPECT_EQ(h.current(id, "a").attempt, 1);
}

}  // namespace cirrus::controller::core
