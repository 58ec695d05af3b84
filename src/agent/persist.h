// SPDX-License-Identifier: MIT
// Doing something again while whoever should answer is away.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <type_traits>

#include "agent/step_stop.h"

namespace cirrus::agent {

/// Calls `attempt` until it succeeds, fails for another reason than a peer that is away, `patience`
/// is over or the step has to end. Its last answer.
template <typename Attempt>
std::invoke_result_t<Attempt> persist(const StepStop& stop, std::chrono::nanoseconds patience,
                                      const Attempt& attempt) {
  // Ours: a worker or controller that is started again answers within a second.
  constexpr std::chrono::milliseconds kFirst{100};
  constexpr std::chrono::milliseconds kLongest{2000};
  const Monotonic begun = std::chrono::steady_clock::now();
  std::chrono::milliseconds pause = kFirst;
  for (;;) {
    std::invoke_result_t<Attempt> answer = attempt();
    if (answer.ok()) return answer;
    const Code code = answer.error().code();
    if (code != Code::Unavailable && code != Code::DeadlineExceeded) return answer;
    if (std::chrono::steady_clock::now() - begun + pause > patience) return answer;
    if (!wait_for(stop.token(), pause)) return answer;
    pause = std::min(pause * 2, kLongest);
  }
}

}  // namespace cirrus::agent
