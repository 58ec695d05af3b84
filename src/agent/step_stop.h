// SPDX-License-Identifier: MIT
// StepStop: the end of a step's time as a stop token, for work that is done inside the agent.
#pragma once

#include "agent/script_runner.h"
#include "agent/task_control.h"
#include "base/stop.h"

namespace cirrus::agent {

/// Asks to stop at the step's deadline and at a stop order, by the rules scripts end by.
class StepStop {
 public:
  /// `control` must outlive this.
  StepStop(const TaskControl& control, const ScriptLimits& limits);
  StepStop(const StepStop&) = delete;
  StepStop& operator=(const StepStop&) = delete;

  StopToken token() const { return stop_.get_token(); }
  bool stopped() const { return stop_.stop_requested(); }

 private:
  StopSource stop_;
  Thread thread_;  // last: stopped and joined first
};

}  // namespace cirrus::agent
