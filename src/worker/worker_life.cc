// SPDX-License-Identifier: MIT
// How a worker's life goes on and ends: heartbeats, draining, cancelling, detaching.
#include <algorithm>

#include "base/log.h"
#include "os/program_text.h"
#include "worker/worker.h"

namespace cirrus::worker {

WorkerEnd Worker::wait() {
  for (;;) {
    std::vector<std::shared_ptr<TaskRun>> finished;
    const std::optional<WorkerEnd> end = state_.wait(
        StopToken(), [](State& state) { return state.end.has_value() || !state.finished.empty(); },
        [&](State& state, bool) {
          finished = std::exchange(state.finished, {});
          return state.end;
        });
    finished.clear();  // joins their threads, outside the lock
    if (end) return *end;
  }
}

void Worker::drain() {
  for (const auto& loop : loops_) loop->drain();
  standby_->drain();
  const std::shared_ptr<const Settings> current = settings();
  state_.update([&](State& state) {
    if (!state.draining && current->life.drain_timeout) {
      state.drain_deadline = system_clock().now() + *current->life.drain_timeout;
    }
    state.draining = true;
    if (state.tasks.empty() && !state.end) {
      state.end = WorkerEnd{WorkerEnd::Kind::Drained, "no task was running"};
    }
  });
}

void Worker::cancel_all() {
  drain();
  std::vector<std::shared_ptr<TaskRun>> tasks;
  const bool again = state_.with([&](State& state) {
    for (const auto& [id, task] : state.tasks) tasks.push_back(task);
    return std::exchange(state.cancelled, true);
  });
  for (const std::shared_ptr<TaskRun>& task : tasks) {
    if (again) {
      task->kill("the worker is stopping");
    } else {
      task->cancel("the worker is stopping");
    }
  }
}

void Worker::detach() {
  state_.update([](State& state) {
    if (!state.end) state.end = WorkerEnd{WorkerEnd::Kind::Detached, "agents go on"};
  });
}

// Ends an idle worker, and a drain that takes too long. Sleeps until one of them is due.
void Worker::watch_life(const StopToken& stop) {
  const auto due = [this](const State& state) -> std::optional<Monotonic> {
    if (state.end) return std::nullopt;
    std::optional<Monotonic> when;
    if (!state.cancelled) when = state.drain_deadline;
    const std::shared_ptr<const Settings> current = settings();
    if (current->life.exit_after_idle && state.tasks.empty() && !state.draining) {
      const Monotonic idle = state.idle_since + *current->life.exit_after_idle;
      when = when ? std::min(*when, idle) : idle;
    }
    return when;
  };
  while (!stop.stop_requested()) {
    const std::optional<Monotonic> next = state_.with(due);
    if (!next) {
      state_.wait(
          stop, [&](State& state) { return due(state).has_value(); }, [](State&, bool) {});
      continue;
    }
    state_.wait_until(
        stop, *next, [&](State& state) { return due(state) != next; }, [](State&, bool) {});
    if (stop.stop_requested() || system_clock().now() < *next) continue;
    const bool idle = state_.update([](State& state) {
      if (!state.tasks.empty() || state.draining) return false;
      if (!state.end) {
        state.end = WorkerEnd{WorkerEnd::Kind::Finished, "no task came for exit-after-idle"};
      }
      return true;
    });
    if (!idle && state_.with(due) == next) {
      log_warning("the drain takes longer than drain-timeout: cancelling what still runs");
      cancel_all();
    }
  }
}

// One thread for all tasks, so that a task that starves its own threads is still heard of. It also
// compares the clocks, which nobody tells a process about, and makes a worker small that has become
// idle.
void Worker::heartbeat_loop(const StopToken& stop) {
  constexpr auto kPeriod = std::chrono::seconds(60);  // Source: reference agent, heartbeat period.
  constexpr auto kClockPeriod = std::chrono::seconds(5);
  constexpr auto kStep = std::chrono::seconds(1);
  const auto ahead = [] {
    return system_clock().wall().time_since_epoch() - system_clock().now().time_since_epoch();
  };
  auto before = ahead();
  Monotonic next_beat = system_clock().now() + kPeriod;
  bool small = false;
  while (wait_for(stop, kClockPeriod)) {
    const auto now = ahead();
    if (now < before - kStep) {
      // The packaged gRPC library sleeps by the wall clock; nothing wakes its timers earlier.
      log_warning(
          "the clock of this machine was set back: reconnects and time limits of calls may "
          "take longer by as much; restart this worker, its tasks go on meanwhile",
          {{"seconds", std::chrono::ceil<std::chrono::seconds>(before - now).count()}});
    }
    before = now;
    const bool idle = state_.with([&](const State& state) {
      return state.tasks.empty() && system_clock().now() - state.idle_since >= kClockPeriod;
    });
    if (idle && !small) (void)os::give_back_program_text();
    small = idle;
    if (system_clock().now() < next_beat) continue;
    next_beat = system_clock().now() + kPeriod;
    beat(stop);
  }
}

void Worker::beat(const StopToken& stop) {
  std::vector<std::shared_ptr<TaskRun>> tasks;
  state_.with([&](State& state) {
    for (const auto& [id, task] : state.tasks) tasks.push_back(task);
  });
  for (const std::shared_ptr<TaskRun>& task : tasks) {
    if (!task->agent_alive()) continue;
    const Status heard =
        task->service().heartbeat(stop, system_clock().now() + std::chrono::seconds(10));
    if (!heard.ok()) {
      log_debug("heartbeat not heard", {{"task", task->id()}, {"error", heard.error()}});
    }
  }
}

}  // namespace cirrus::worker
