// SPDX-License-Identifier: MIT
// T24: everybody comes back at once, and some of them are not who they say.
#include <gtest/gtest.h>

#include "base/log.h"
#include "controller/core/testing/state_harness.h"

namespace cirrus::controller::core {

namespace {
#ifdef NDEBUG
constexpr int kWorkers = 100'000;
#else
constexpr int kWorkers = 5'000;
#endif

std::string name_of(int number) {
  return "w" + std::to_string(number);
}

/// A poll whose commit comes later, as in one batch of the state loop.
std::shared_ptr<PollSlot> queue_poll(StateHarness& h, const std::string& name,
                                     std::uint64_t number) {
  auto slot = std::make_shared<PollSlot>();
  PollCall call;
  call.worker = h.credential(name);
  call.features.hold = true;
  call.number = number;
  h.state().poll(
      std::move(call),
      [slot](Result<api::PollResponse> result) { slot->answer = std::move(result); }, h.moment());
  return slot;
}
}  // namespace

TEST(T24_Herd, AHundredThousandWorkersComeBackAfterARestartAndWorkGoesOn) {
  set_log_level(LogLevel::Error);
  StateHarness h;
  for (int i = 0; i < kWorkers; ++i) {
    const std::string name = name_of(i);
    h.state().register_worker(
        {h.registration_token, name, "i", {}, {}},
        [&h, name](Result<std::string> session) { h.sessions[name] = session.value(); },
        h.moment());
  }
  h.commit();
  // Every tenth is paused, and stays so.
  for (int i = 0; i < kWorkers; i += 10) {
    h.state().update_status(
        h.credential(name_of(i)), true, [](const Result<bool>& done) { EXPECT_TRUE(done.ok()); },
        h.moment());
  }
  h.commit();
  h.restart();
  std::vector<api::Task> tasks;
  for (int i = 0; i < 1000; ++i) tasks.push_back(h.task(i, "t" + std::to_string(i)));
  const auto build = h.submit(std::move(tasks));

  std::vector<std::shared_ptr<PollSlot>> slots;
  for (int i = 0; i < kWorkers; ++i) slots.push_back(queue_poll(h, name_of(i), 1));
  // Some send twice: their client gave up waiting and asked again.
  for (int i = 0; i < kWorkers; i += 100) {
    const auto newer = queue_poll(h, name_of(i), 2);
    h.commit();
    EXPECT_TRUE(slots[static_cast<std::size_t>(i)]->answered()) << "the older one is let go";
    slots[static_cast<std::size_t>(i)] = newer;
  }
  h.commit();
  std::set<std::string> given;
  for (int i = 0; i < kWorkers; ++i) {
    const auto assigned = slots[static_cast<std::size_t>(i)]->tasks();
    ASSERT_LE(assigned.size(), 1U) << "a worker without resources runs one task";
    if (assigned.empty()) continue;
    ASSERT_NE(i % 10, 0) << "a paused worker got a task";
    EXPECT_TRUE(given.insert(assigned[0].task_id()).second) << "given away twice";
  }
  EXPECT_EQ(given.size(), 1000U);
  for (const TaskView& task : h.build(build).tasks) {
    EXPECT_EQ(task.status, model::TaskStatus::Assigned);
  }
  set_log_level(LogLevel::Info);
}

TEST(T24_Herd, ACloneOfALiveWorkerIsRefusedAndTheFirstGoesOn) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w", "first").ok());
  const auto held = h.poll("w", {}, "first");
  const std::string session = h.sessions["w"];
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(h.register_worker("w", "clone").error().code(), Code::AlreadyExists);
    EXPECT_EQ(h.poll("w", {}, "clone")->answer->error().code(), Code::AlreadyExists);
  }
  EXPECT_FALSE(held->answered());
  h.submit({h.task(0, "a")});
  EXPECT_EQ(held->tasks().size(), 1U);
  EXPECT_NE(h.state().view_workers(h.moment()).at(0).conflict, "");
  // Once the first is gone for a minute, the name is free.
  h.pass(std::chrono::seconds(61));
  EXPECT_TRUE(h.register_worker("w", "clone").ok());
}

TEST(T24_Herd, AWorkerThatBeginsToDrainWhileItsPollIsHeldGetsNothing) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto held = h.poll("w", {}, "i", 1);
  h.draining = true;
  const auto drained = h.poll("w", {}, "i", 2);
  const auto id = h.submit({h.task(0, "a")});
  EXPECT_TRUE(held->tasks().empty());
  EXPECT_TRUE(drained->tasks().empty());
  EXPECT_EQ(h.current(id, "a").status, model::TaskStatus::Ready);
  EXPECT_EQ(h.current(id, "a").waiting_reasons.front().kind, model::WaitingReason::Kind::Draining);
}

}  // namespace cirrus::controller::core
