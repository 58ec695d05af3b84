// SPDX-License-Identifier: MIT
#include "controller/scheduler/scheduler.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace cirrus::controller::scheduler {

namespace {
WorkerOffer offer(std::string name, model::Labels labels = {}, model::Resources resources = {}) {
  return {std::move(name), std::move(labels), std::move(resources), true, false, false};
}

Demand demand(model::Labels labels = {}, model::Resources resources = {}, int priority = 0) {
  return {model::LabelSelector::create(std::move(labels)).value(), std::move(resources), priority};
}

std::map<std::int64_t, WorkerIndex> by_task(const std::vector<Placement>& placements) {
  std::map<std::int64_t, WorkerIndex> map;
  for (const Placement& placement : placements) map[placement.task.value] = placement.worker;
  return map;
}
}  // namespace

TEST(Scheduler, AWorkerWithoutResourcesRunsOneTaskAtATime) {
  Scheduler scheduler;
  scheduler.set_worker(1, offer("w"));
  scheduler.add_task({1}, demand());
  scheduler.add_task({2}, demand());
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{1, 1}}));
  EXPECT_TRUE(scheduler.place().empty());
  scheduler.release({1});
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{2, 1}}));
}

TEST(Scheduler, AResourcelessTaskIsAloneOnAWorkerWithResources) {
  Scheduler scheduler;
  scheduler.set_worker(1, offer("w", {}, {{"cpu", 4}}));
  scheduler.add_task({1}, demand({}, {{"cpu", 1}}));
  scheduler.add_task({2}, demand());
  scheduler.add_task({3}, demand({}, {{"cpu", 1}}));
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{1, 1}, {3, 1}}));
  scheduler.release({1});
  EXPECT_TRUE(scheduler.place().empty());
  scheduler.release({3});
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{2, 1}}));
  scheduler.add_task({4}, demand({}, {{"cpu", 1}}));
  EXPECT_TRUE(scheduler.place().empty());
}

TEST(Scheduler, PriorityComesBeforeAge) {
  Scheduler scheduler;
  scheduler.add_task({1}, demand());
  scheduler.add_task({2}, demand({}, {}, 5));
  scheduler.add_task({3}, demand({{"os", "x"}}, {}, 9));
  scheduler.set_worker(1, offer("w"));
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{2, 1}}));
}

TEST(Scheduler, SpreadsOverIdleWorkers) {
  Scheduler scheduler;
  for (WorkerIndex w = 1; w <= 3; ++w) scheduler.set_worker(w, offer("w", {}, {{"cpu", 8}}));
  for (int t = 1; t <= 3; ++t) scheduler.add_task({t}, demand({}, {{"cpu", 1}}));
  EXPECT_EQ(by_task(scheduler.place()),
            (std::map<std::int64_t, WorkerIndex>{{1, 1}, {2, 2}, {3, 3}}));
}

TEST(Scheduler, NothingGoesToAWorkerThatIsPausedSilentOrNotListening) {
  for (int fact = 0; fact < 3; ++fact) {
    Scheduler scheduler;
    WorkerOffer closed = offer("w");
    if (fact == 0) closed.disabled = true;
    if (fact == 1) closed.silent = true;
    if (fact == 2) closed.accepts = false;
    scheduler.set_worker(1, closed);
    scheduler.add_task({1}, demand());
    EXPECT_TRUE(scheduler.place().empty()) << fact;
    EXPECT_FALSE(scheduler.reasons({1}).empty()) << fact;
  }
}

TEST(Scheduler, ABigTaskIsNotStarvedBySmallOnes) {
  Scheduler scheduler;
  scheduler.set_worker(1, offer("w", {}, {{"cpu", 2}}));
  scheduler.book({1}, 1, {{"cpu", 1}});
  scheduler.add_task({2}, demand({}, {{"cpu", 2}}));
  std::int64_t next = 3;
  std::int64_t small = 1;
  bool placed = false;
  for (int round = 0; round < 3 * Scheduler::kPatience && !placed; ++round) {
    scheduler.add_task({next++}, demand({}, {{"cpu", 1}}));
    for (const Placement& placement : scheduler.place()) {
      placed = placed || placement.task.value == 2;
      scheduler.release({small});
      small = placement.task.value;
    }
    if (round > 2 * Scheduler::kPatience) scheduler.release({small});
  }
  EXPECT_TRUE(placed);
}

TEST(Scheduler, SaysWhyATaskWaits) {
  Scheduler scheduler;
  scheduler.add_task({1}, demand({{"os", "darwin"}}));
  EXPECT_EQ(scheduler.reasons({1}).front(), "no worker has registered yet");
  scheduler.set_worker(1, offer("w1", {{"os", "linux"}}, {{"gpu", 1}}));
  EXPECT_EQ(scheduler.reasons({1}).front(),
            "no worker has label os=darwin; nearest: w1, which has os=linux");
  scheduler.add_task({2}, demand({}, {{"gpu", 2}}));
  EXPECT_EQ(scheduler.reasons({2}).front(), "gpu short by 1 on w1 (wants 2, it has 1)");
  EXPECT_TRUE(scheduler.reasons({99}).empty());
}

TEST(Scheduler, NeverOvercommitsUnderRandomLoad) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    Scheduler scheduler;
    std::map<WorkerIndex, double> total;
    std::map<WorkerIndex, std::map<std::int64_t, double>> running;
    std::map<std::int64_t, double> wants;
    std::int64_t next = 1;
    for (WorkerIndex w = 1; w <= 5; ++w) {
      total[w] = static_cast<double>(random() % 4);
      model::Resources resources;
      if (total[w] > 0) resources["cpu"] = total[w];
      scheduler.set_worker(w, offer("w", {}, resources));
    }
    for (int step = 0; step < 300; ++step) {
      if (random() % 2 == 0) {
        wants[next] = static_cast<double>(random() % 4);
        model::Resources resources;
        if (wants[next] > 0) resources["cpu"] = wants[next];
        scheduler.add_task({next++}, demand({}, resources, static_cast<int>(random() % 3)));
      } else {
        auto& host = running[static_cast<WorkerIndex>(1 + random() % 5)];
        if (!host.empty()) {
          scheduler.release({host.begin()->first});
          host.erase(host.begin());
        }
      }
      for (const Placement& placement : scheduler.place()) {
        running[placement.worker][placement.task.value] = wants[placement.task.value];
      }
      for (const auto& [w, tasks] : running) {
        double used = 0;
        bool alone = false;
        for (const auto& [id, amount] : tasks) {
          used += amount;
          alone = alone || amount == 0;
        }
        ASSERT_LE(used, total[w]) << "seed " << seed;
        if (alone) {
          ASSERT_EQ(tasks.size(), 1U) << "seed " << seed;
        }
      }
    }
  }
}

}  // namespace cirrus::controller::scheduler
