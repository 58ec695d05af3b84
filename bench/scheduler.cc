// SPDX-License-Identifier: MIT
// placements: 5,000 workers, 50,000 waiting tasks of 40 kinds; tasks end and others take their
// place.
#include "controller/scheduler/scheduler.h"

#include <deque>

#include <fmt/format.h>

#include "base/clock.h"

using namespace cirrus;  // NOLINT(google-build-using-namespace): a program of one file
using controller::scheduler::Demand;
using controller::scheduler::Placement;
using controller::scheduler::Scheduler;

int main() {
  constexpr int kWorkers = 5000;
  constexpr int kTasks = 50'000;
  constexpr int kKinds = 40;
  Scheduler scheduler;
  for (int i = 1; i <= kWorkers; ++i) {
    controller::scheduler::WorkerOffer offer;
    offer.name = fmt::format("w{}", i);
    offer.labels = {{"os", i % 4 == 0 ? "darwin" : "linux"}, {"zone", fmt::format("z{}", i % 5)}};
    offer.resources = {{"cpu", 4}};
    offer.accepts = true;
    scheduler.set_worker(static_cast<unsigned>(i), std::move(offer));
  }
  std::int64_t next = 1;
  const auto add = [&] {
    const std::int64_t kind = next % kKinds;
    Demand demand;
    model::Labels labels = {{"os", kind % 4 == 0 ? "darwin" : "linux"}};
    if (kind % 2 == 0) labels["zone"] = fmt::format("z{}", kind % 5);
    demand.labels = model::LabelSelector::create(std::move(labels)).value();
    demand.resources = {{"cpu", static_cast<double>(1 + kind % 3)}};
    scheduler.add_task({next++}, demand);
  };
  for (int i = 0; i < kTasks; ++i) add();

  std::deque<model::TaskId> running;
  std::int64_t placed = 0;
  const Monotonic start = system_clock().now();
  Monotonic now = start;
  while (now - start < std::chrono::seconds(5)) {
    for (const Placement& placement : scheduler.place()) {
      running.push_back(placement.task);
      ++placed;
    }
    // What one batch of the state loop would bring: a few ends and as many arrivals.
    for (int i = 0; i < 64 && !running.empty(); ++i) {
      scheduler.release(running.front());
      running.pop_front();
      add();
    }
    now = system_clock().now();
  }
  const double seconds = std::chrono::duration<double>(now - start).count();
  fmt::print("{{\"name\":\"placements\",\"value\":{:.0f},\"unit\":\"1/s\",\"n\":{}}}\n",
             static_cast<double>(placed) / seconds, placed);
}
