// SPDX-License-Identifier: MIT
// ResourceMonitor: what the task used, as two charts. Source: reference agent, metrics.
#pragma once

#include <chrono>

#include "base/clock.h"
#include "base/guarded.h"
#include "base/stop.h"
#include "cirrus_agent.pb.h"
#include "os/usage.h"

namespace cirrus::agent {

namespace wire = org::cirruslabs::ci::services::cirruscigrpc;

/// Looks once a second during the first minute, then every ten seconds. One thread of its own.
class ResourceMonitor {
 public:
  struct Rhythm {
    std::chrono::milliseconds first = std::chrono::seconds(1);
    std::chrono::milliseconds later = std::chrono::seconds(10);
    std::chrono::milliseconds change = std::chrono::minutes(1);
  };

  explicit ResourceMonitor(os::UsageMeter meter) : ResourceMonitor(std::move(meter), Rhythm()) {}
  ResourceMonitor(os::UsageMeter meter, Rhythm rhythm);
  ResourceMonitor(const ResourceMonitor&) = delete;
  ResourceMonitor& operator=(const ResourceMonitor&) = delete;

  /// The charts so far, with a last point for what came after the last look. The first failure to
  /// look is in `problem()`.
  wire::ResourceUtilization charts();
  /// Empty if every look succeeded.
  std::string problem() const;

 private:
  struct State {
    wire::ResourceUtilization charts;
    Monotonic last;
    double last_cpu = 0;
    std::string problem;
  };
  void look();
  void run(const StopToken& stop);

  const os::UsageMeter meter_;
  const Rhythm rhythm_;
  const Monotonic begun_;
  Guarded<State> state_;
  Thread thread_;  // last: uses everything above
};

}  // namespace cirrus::agent
