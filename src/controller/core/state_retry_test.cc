// SPDX-License-Identifier: MIT
// Attempts that are lost, refused, cancelled by newer builds or run again by hand; who gets them.
#include <gtest/gtest.h>

#include "controller/core/testing/state_harness.h"

namespace cirrus::controller::core {

namespace {
using model::StepStatus;
using model::TaskStatus;
using std::chrono::minutes;
using std::chrono::seconds;

Result<std::vector<model::TaskId>> rerun(StateHarness& h, model::BuildId id) {
  return h.ask<std::vector<model::TaskId>>(
      [&](State& s, auto reply, Moment now) { s.rerun_build(id, "test", std::move(reply), now); });
}
}  // namespace

TEST(StateRetry, WhatAWorkerCannotRunRunsOnAnotherOne) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w1").ok());
  ASSERT_TRUE(h.register_worker("w2").ok());
  const auto first = h.poll("w1");
  const auto id = h.submit({h.task(0, "a")});
  const auto second = h.poll("w2");
  ASSERT_EQ(first->tasks().size(), 1U);
  ASSERT_TRUE(h.failed("w1", h.of(first->tasks()[0]), "isolation 'none' is not allowed").ok());
  ASSERT_EQ(second->tasks().size(), 1U);
  EXPECT_TRUE(h.poll("w1")->tasks().empty());
  EXPECT_EQ(h.current(id, "a").attempt, 2);
  // When everybody has refused it, it fails with the last one's words.
  ASSERT_TRUE(h.failed("w2", h.of(second->tasks()[0]), "no disk").ok());
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Failed);
  EXPECT_EQ(h.current(id, "a").reason, "no disk");
}

TEST(StateRetry, WithoutAnotherWorkerItFailsAtOnce) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  const auto assigned = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.failed("w", h.of(assigned), "image not found").ok());
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Failed);
  EXPECT_EQ(h.current(id, "a").reason, "image not found");
  EXPECT_EQ(h.current(id, "a").attempt, 1);
}

TEST(StateRetry, OnceItsAgentSpokeAFailureIsFinal) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w1").ok());
  ASSERT_TRUE(h.register_worker("w2").ok());
  const auto first = h.poll("w1");
  const auto id = h.submit({h.task(0, "a")});
  h.poll("w2");
  const auto task = h.of(first->tasks().at(0));
  ASSERT_TRUE(h.started("w1", task).ok());
  ASSERT_TRUE(h.ask<api::CommandsResponse>([&](State& s, auto reply, Moment now) {
                 s.initial_commands(task, std::move(reply), now);
               }).ok());
  ASSERT_TRUE(h.failed("w1", task, "the machine died").ok());
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Failed);
  EXPECT_EQ(h.current(id, "a").attempt, 1);
}

TEST(StateRetry, AnAvoidedWorkerIsBetterThanNobody) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w1").ok());
  ASSERT_TRUE(h.register_worker("w2").ok());
  const auto first = h.poll("w1");
  const auto id = h.submit({h.task(0, "a")});
  h.resources["w2"] = {{"cpu", 1}};  // connected and able, but it does not ask for work yet
  h.poll("w2");
  h.resources["w2"] = {};
  h.state().poll_cancelled(h.credential("w2"), h.state().last_ticket());
  h.commit();
  ASSERT_TRUE(h.failed("w1", h.of(first->tasks().at(0)), "busy").ok());
  EXPECT_EQ(h.current(id, "a").attempt, 2);
  const auto again = h.poll("w1");
  EXPECT_TRUE(again->tasks().empty());
  bool avoided = false;
  for (const auto& reason : h.current(id, "a").waiting_reasons) {
    avoided = avoided || reason.kind == model::WaitingReason::Kind::Avoided;
  }
  EXPECT_TRUE(avoided);
  // The other one goes silent: then the first gets it after all.
  std::shared_ptr<PollSlot> slot = again;
  for (int i = 0; i < 8 && slot->tasks().empty(); ++i) {
    h.pass(seconds(20));
    if (slot->answered() && slot->tasks().empty()) slot = h.poll("w1");
  }
  EXPECT_EQ(slot->tasks().size(), 1U);
}

TEST(StateRetry, ALostAttemptWithATerminalIsFollowedByAnother) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  const auto rerun_last = [&](RerunWish wish) {
    const auto last = h.current(id, "a").id;
    const auto fresh = h.ask<model::TaskId>([&](State& s, auto reply, Moment now) {
      s.rerun_task(last, "test", std::move(reply), now, wish);
    });
    EXPECT_TRUE(fresh.ok());
  };
  EXPECT_FALSE(h.run_one("w", StepStatus::Failed).empty());
  const std::size_t steps = h.current(id, "a").steps.size();
  rerun_last({.terminal = true});
  ASSERT_EQ(h.current(id, "a").steps.size(), steps + 1);
  EXPECT_EQ(h.current(id, "a").steps.back().name, "terminal");
  const auto lost = h.of(h.poll("w")->tasks().at(0));
  ASSERT_TRUE(h.started("w", lost).ok());
  h.restart();
  h.pass(minutes(11));
  EXPECT_EQ(h.current(id, "a").attempt, 3);
  EXPECT_EQ(h.current(id, "a").steps.size(), steps + 1);
  const auto again = h.of(h.poll("w")->tasks().at(0));
  const auto commands = h.ask<api::CommandsResponse>(
      [&](State& s, auto reply, Moment now) { s.initial_commands(again, std::move(reply), now); });
  ASSERT_TRUE(commands.ok());
  const api::Command& last = *commands.value().commands().rbegin();
  EXPECT_TRUE(last.has_wait_for_terminal_instruction());
  EXPECT_EQ(last.execution_behaviour(), api::Command::ALWAYS);
  ASSERT_TRUE(h.ask<void>([&](State& s, auto reply, Moment now) {
                 s.cancel_task(h.current(id, "a").id, "test", std::move(reply), now);
               }).ok());
  rerun_last({});
  EXPECT_EQ(h.current(id, "a").steps.size(), steps) << "only who asks for it gets it";
}

TEST(StateRetry, LostAttemptsAreCountedApartFromThoseRunAgainByHand) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(h.run_one("w", StepStatus::Failed).empty());
    ASSERT_TRUE(rerun(h, id).ok());
  }
  EXPECT_EQ(h.current(id, "a").attempt, 6);
  // Lost twice: it still runs again. A third time in a row: it fails.
  for (int i = 0; i < 3; ++i) {
    const auto lost = h.poll("w")->tasks().at(0);
    ASSERT_TRUE(h.started("w", h.of(lost)).ok());
    h.pass(minutes(11));
    EXPECT_EQ(h.current(id, "a").attempt, std::min(6 + i + 1, 8));
    h.restart();
  }
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Failed);
  EXPECT_NE(h.current(id, "a").reason.find("3 in a row"), std::string::npos)
      << h.current(id, "a").reason;
}

TEST(StateRetry, ALockOfALostWorkerIsFreeOnceItsTaskCannotRunAnyMore) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w1").ok());
  ASSERT_TRUE(h.register_worker("w2").ok());
  api::Task locked = h.task(0, "a");
  h.set(locked, "execution_lock", "device");
  h.set(locked, "timeout_in", "600");
  const auto first = h.submit({locked});
  const auto lost = h.of(h.poll("w1")->tasks().at(0));
  ASSERT_TRUE(h.started("w1", lost).ok());
  const auto second = h.submit({locked});
  // 600 s of its own, 360 s for what comes after, 900 s for an agent that is cut off.
  std::shared_ptr<PollSlot> slot = h.poll("w2");
  int seconds_passed = 0;
  while (slot->tasks().empty() && seconds_passed < 3600) {
    h.pass(seconds(20));
    seconds_passed += 20;
    if (slot->answered() && slot->tasks().empty()) slot = h.poll("w2");
  }
  EXPECT_GE(seconds_passed, 1860);
  EXPECT_LE(seconds_passed, 1900);
  EXPECT_EQ(h.current(first, "a").status, TaskStatus::Failed);
  EXPECT_NE(h.current(first, "a").reason.find("holds a lock"), std::string::npos);
  EXPECT_EQ(h.current(second, "a").status, TaskStatus::Assigned);
  EXPECT_EQ(h.build(first).record.status, model::BuildStatus::Failed);
}

TEST(StateRetry, ABuildRunsAgainWhereItFailed) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "good"), h.task(1, "bad"), h.task(2, "after", {1})});
  h.run_one("w", StepStatus::Completed);
  EXPECT_EQ(rerun(h, id).error().code(), Code::FailedPrecondition) << "nothing failed yet";
  h.run_one("w", StepStatus::Failed);
  EXPECT_EQ(h.build(id).record.status, model::BuildStatus::Failed);
  const auto fresh = rerun(h, id);
  ASSERT_TRUE(fresh.ok());
  EXPECT_EQ(fresh.value().size(), 1U);
  EXPECT_EQ(h.current(id, "good").attempt, 1);
  EXPECT_EQ(h.current(id, "after").status, TaskStatus::Created);
  h.run_one("w", StepStatus::Completed);
  h.run_one("w", StepStatus::Completed);
  EXPECT_EQ(h.build(id).record.status, model::BuildStatus::Completed);
}

TEST(StateRetry, ANewerBuildOfTheBranchCancelsWhatItMakesPointless) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto made = [&](const std::string& name, bool automatic) {
    api::Task task = h.task(automatic ? 0 : 1, name);
    if (automatic) h.set(task, "auto_cancellation", "true");
    return task;
  };
  const auto old = h.submit({made("test", true), made("keep", false)}, 0, "topic");
  const auto elsewhere = h.submit({made("test", true)}, 0, "other");
  const auto running = h.poll("w");
  ASSERT_EQ(running->tasks().size(), 1U);
  ASSERT_TRUE(h.started("w", h.of(running->tasks()[0])).ok());
  const auto slot = h.poll("w", {"1"});
  const auto fresh = h.submit({made("test", true)}, 0, "topic");
  EXPECT_EQ(h.current(old, "test").status, TaskStatus::Aborted);
  EXPECT_EQ(h.current(old, "test").reason,
            fmt::format("build {} of branch 'topic' is newer", fresh));
  EXPECT_EQ(slot->stops(), std::vector<std::string>{"1"});
  EXPECT_EQ(h.current(old, "keep").status, TaskStatus::Ready);
  EXPECT_EQ(h.current(elsewhere, "test").status, TaskStatus::Ready);
  EXPECT_EQ(h.current(fresh, "test").status, TaskStatus::Ready);
}

TEST(StateRetry, ARunningStatefulTaskIsNotCutOffByANewerBuild) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  api::Task task = h.task(0, "migrate");
  h.set(task, "auto_cancellation", "true");
  h.set(task, "stateful", "true");
  const auto old = h.submit({task}, 0, "topic");
  ASSERT_EQ(h.poll("w")->tasks().size(), 1U);
  const auto waiting = h.submit({task}, 0, "topic");
  h.submit({task}, 0, "topic");
  EXPECT_EQ(h.current(old, "migrate").status, TaskStatus::Assigned);
  EXPECT_EQ(h.current(waiting, "migrate").status, TaskStatus::Aborted) << "it had not begun";
}

TEST(StateRetry, AStandbyOfTheSameIsolationDrawsTheTask) {
  StateHarness h;
  api::Isolation wanted;
  wanted.mutable_tart()->set_image("macos");
  wanted.mutable_tart()->set_user("admin");
  api::Isolation other = wanted;
  other.mutable_tart()->set_cpu(2);
  h.standby["w2"] = {isolation_key(other), 900};
  h.standby["w3"] = {isolation_key(wanted), 5};
  h.standby["w4"] = {isolation_key(wanted), 60};
  std::map<std::string, std::shared_ptr<PollSlot>> slots;
  for (const char* name : {"w1", "w2", "w3", "w4"}) {
    ASSERT_TRUE(h.register_worker(name).ok());
    slots[name] = h.poll(name);
  }
  api::Task task = h.task(0, "a");
  api::PersistentWorkerInstance instance;
  *instance.mutable_isolation() = wanted;
  task.mutable_instance()->PackFrom(instance);
  h.submit({task});
  EXPECT_EQ(slots["w4"]->tasks().size(), 1U) << "equal, and the oldest";
  h.submit({task});
  EXPECT_EQ(slots["w3"]->tasks().size(), 1U);
  h.submit({task});
  EXPECT_EQ(slots["w1"]->tasks().size(), 1U) << "no equal one is left";
}

TEST(StateRetry, APriorityOfATaskIsAddedToThatOfItsBuild) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  api::Task urgent = h.task(1, "urgent");
  h.set(urgent, "priority", "7");
  api::Task wrong = h.task(2, "wrong");
  h.set(wrong, "priority", "very");
  const auto id = h.submit({h.task(0, "plain"), urgent, wrong});
  h.submit({h.task(0, "build")}, 5);
  EXPECT_EQ(h.run_one("w", StepStatus::Completed), "2");
  EXPECT_EQ(h.run_one("w", StepStatus::Completed), "4");
  EXPECT_EQ(h.run_one("w", StepStatus::Completed), "1");
  EXPECT_EQ(h.current(id, "wrong").status, TaskStatus::Failed);
  EXPECT_NE(h.current(id, "wrong").reason.find("whole number"), std::string::npos);
}

}  // namespace cirrus::controller::core
