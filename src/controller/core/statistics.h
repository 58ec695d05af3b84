// SPDX-License-Identifier: MIT
// What those who watch a controller want to count.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "base/clock.h"
#include "model/task_status.h"

namespace cirrus::controller::core {

/// Times in buckets; the bounds are upper ones, in seconds. Ours: fine where a dispatch should lie
/// (a few ms), coarse where a task waits for a machine.
class LatencyHistogram {
 public:
  static constexpr std::array<double, 14> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                     0.25,  1,      5,     30,   120,   600,  3600};
  void add(Duration time);
  /// How many were at most each bound; what was longer is in `count` only.
  std::array<std::uint64_t, kBounds.size()> cumulative() const;
  std::uint64_t count() const { return count_; }
  double sum_seconds() const { return sum_; }

 private:
  std::array<std::uint64_t, kBounds.size()> buckets_{};
  std::uint64_t count_ = 0;
  double sum_ = 0;
};

/// A moment's figures. Counters start with the process.
struct Statistics {
  static constexpr int kReasonsLookedAt = 2000;  ///< Ours: each costs a look at the scheduler.

  std::map<model::TaskStatus, int>
      tasks;                           ///< of builds in memory: all that are not final, and more
  std::map<std::string, int> workers;  ///< by state, as WorkerView
  std::map<std::string, int> waiting;  ///< ready tasks by the kind of their first reason
  bool waiting_complete = true;        ///< false: more waited than were looked at
  double oldest_ready_seconds = 0;     ///< 0: nothing waits for a worker
  int parked_polls = 0;
  LatencyHistogram dispatch;  ///< from ready to assigned
};

}  // namespace cirrus::controller::core
