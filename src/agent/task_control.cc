// SPDX-License-Identifier: MIT
#include "agent/task_control.h"

#include <poll.h>

#include <algorithm>
#include <climits>

#include "os/process_table.h"

namespace cirrus::agent {

Result<std::unique_ptr<TaskControl>> TaskControl::create() {
  os::Waker stop = CIRRUS_TRY(os::Waker::create());
  os::Waker children = CIRRUS_TRY(os::Waker::create());
  return std::unique_ptr<TaskControl>(new TaskControl(std::move(stop), std::move(children)));
}

void TaskControl::cancel(const std::string& reason) {
  const bool first = order_.with([&reason](Order& order) {
    if (order.at) return false;
    order = {reason, std::chrono::steady_clock::now()};
    return true;
  });
  if (!first) return;
  cancelled_.store(true);
  stop_.wake();
}

std::string TaskControl::reason() const {
  return order_.with([](const Order& order) { return order.reason; });
}

std::optional<Monotonic> TaskControl::cancelled_at() const {
  return order_.with([](const Order& order) { return order.at; });
}

WaitEnd TaskControl::wait(const os::Process& process, Monotonic deadline, bool heed_cancel,
                          const std::vector<pid_t>& tracked) {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now())
            .count();
    pollfd polled[3] = {{process.pidfd(), POLLIN, 0},
                        {children_.fd(), POLLIN, 0},
                        {heed_cancel ? stop_.fd() : -1, POLLIN, 0}};
    const int ready =
        ::poll(polled, 3, static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX)));
    if (polled[0].revents != 0) return WaitEnd::Exited;
    if (ready > 0 && polled[1].revents != 0) {
      children_.clear();
      os::reap_others(tracked);
    }
    if (ready > 0 && polled[2].revents != 0) return WaitEnd::Cancelled;
    if (std::chrono::steady_clock::now() >= deadline) return WaitEnd::DeadlinePassed;
  }
}

bool TaskControl::wait_for_order(const StopToken& stop, Monotonic deadline) const {
  const Result<bool> ordered = os::wait_readable(stop_.fd(), stop, deadline);
  return ordered.ok() && ordered.value();
}

bool TaskControl::pause(Duration span, Monotonic deadline) const {
  const Monotonic until = std::chrono::steady_clock::now() + span;
  const Result<bool> stopped =
      os::wait_readable(stop_.fd(), StopToken(), std::min(until, deadline));
  return stopped.ok() && !stopped.value() && until <= deadline;
}

}  // namespace cirrus::agent
