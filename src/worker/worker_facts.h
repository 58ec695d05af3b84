// SPDX-License-Identifier: MIT
// A moment of a worker's life, for metrics and for people.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "worker/instance_kind.h"

namespace cirrus::worker {

/// How one upstream gets on.
struct UpstreamFacts {
  bool registered = false;            ///< at least once
  std::string failure;                ///< why the last call failed; empty: it did not
  std::optional<WallTime> last_poll;  ///< when a poll was last answered
};

/// A task that is not over for this worker.
struct TaskFacts {
  /// Waiting: for resources. Reporting: none of its processes is left.
  enum class Phase { Waiting, Running, Reporting } phase = Phase::Waiting;
  std::string id;
  std::string upstream;
  WallTime since;  ///< when it was assigned, also to a worker before this one
};

struct StandbyFacts {
  std::size_t wanted = 0;
  std::size_t ready = 0;
  std::size_t warming = 0;  ///< being launched, or its warm-up script runs
  InstanceCounts hits;
  InstanceCounts misses;
};

struct WorkerFacts {
  std::string name;
  std::vector<TaskFacts> tasks;  ///< by id
  std::uint64_t started = 0;
  std::map<std::string, double> resources_total;
  std::map<std::string, double> resources_in_use;
  InstanceCounts instances;                        ///< of the tasks started
  std::map<std::string, UpstreamFacts> upstreams;  ///< by endpoint
  StandbyFacts standby;
  bool draining = false;
  std::uint64_t min_free_space = 0;  ///< bytes; 0: not looked at

  std::size_t running() const { return tasks.size(); }
};

}  // namespace cirrus::worker
