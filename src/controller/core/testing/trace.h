// SPDX-License-Identifier: MIT
// What a simulation did, step by step, and what it was answered: to do the same to another
// controller and compare.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "controller/core/testing/state_harness.h"

namespace cirrus::controller::core {

/// How far time goes at once in a trace; whoever replays it lets the state settle as often.
inline constexpr std::chrono::milliseconds kTraceTick{30'000};

/// How a poll ended; polls are counted from 0 as they are made.
struct PollAnswer {
  std::size_t poll = 0;
  Code code = Code::Ok;
  std::vector<std::string> tasks = {};
  std::vector<std::string> stops = {};
};

struct TraceStep {
  enum class Kind {
    Submit,
    Cancel,
    Register,
    Pause,
    Poll,
    Started,
    Failed,
    Stopped,
    Finished,
    Pass,
    Restart,
  };
  Kind kind = Kind::Pass;
  std::string machine = {};
  std::string task = {};
  std::string why = {};                   ///< of Failed
  model::StepStatus end = {};             ///< of Finished
  std::vector<std::string> running = {};  ///< of Poll
  std::shared_ptr<PollSlot> poll = {};    ///< of Poll
  std::vector<api::Task> tasks = {};      ///< of Submit
  int priority = 0;                       ///< of Submit
  model::BuildId build = {};              ///< of Cancel
  std::chrono::milliseconds time{0};      ///< of Pass and Restart
  bool on = false;                        ///< of Pause
  Code code = Code::Ok;                   ///< the answer; of a poll it is in `answered`
  int parked = 0;                         ///< polls that wait when all is done
  std::vector<PollAnswer> answered = {};  ///< polls that ended with this step
};

class Trace {
 public:
  explicit Trace(StateHarness& harness) : harness_(harness) {}

  /// To be called after each step, before the next.
  void add(TraceStep step) {
    if (step.poll) polls_.push_back(step.poll);
    for (std::size_t i = 0; i < polls_.size(); ++i) {
      if (!polls_[i] || !polls_[i]->answered()) continue;
      const std::shared_ptr<PollSlot> slot = std::exchange(polls_[i], nullptr);
      PollAnswer answer{.poll = i};
      if (!slot->answer->ok()) answer.code = slot->answer->error().code();
      for (const auto& task : slot->tasks()) answer.tasks.push_back(task.task_id());
      answer.stops = slot->stops();
      step.answered.push_back(std::move(answer));
    }
    // Of a poll that a restart cut off there is no answer.
    if (step.kind == TraceStep::Kind::Restart) {
      for (std::shared_ptr<PollSlot>& slot : polls_) slot.reset();
    }
    step.parked = harness_.state().statistics(harness_.moment()).parked_polls;
    steps_.push_back(std::move(step));
  }
  const std::vector<TraceStep>& steps() const { return steps_; }

 private:
  StateHarness& harness_;
  std::vector<std::shared_ptr<PollSlot>> polls_;  ///< null once answered
  std::vector<TraceStep> steps_;
};

}  // namespace cirrus::controller::core
