// SPDX-License-Identifier: MIT
#include "agent/step_stop.h"

#include <algorithm>

namespace cirrus::agent {

StepStop::StepStop(const TaskControl& control, const ScriptLimits& limits)
    : thread_([this, &control, deadline = limits.deadline,
               extension = limits.extension_after_cancel](const StopToken& done) {
        const bool ordered = control.wait_for_order(done, deadline);
        if (done.stop_requested()) return;
        if (ordered && extension) {
          const Monotonic end =
              std::min(deadline, control.cancelled_at().value_or(deadline) + *extension);
          if (!wait_for(done, end - std::chrono::steady_clock::now())) return;
        }
        stop_.request_stop();
      }) {}

}  // namespace cirrus::agent
