// SPDX-License-Identifier: MIT
// What may end a running step early: the clock and a stop order.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/guarded.h"
#include "base/stop.h"
#include "os/process.h"
#include "os/waker.h"

namespace cirrus::agent {

/// Why a wait ended.
enum class WaitEnd { Exited, DeadlinePassed, Cancelled };

/// Stop orders reach the main thread through this. `cancel` and `child_ended` may be called from
/// any thread; `wait` belongs to the main thread.
class TaskControl {
 public:
  static Result<std::unique_ptr<TaskControl>> create();

  /// The first reason stays.
  void cancel(const std::string& reason);
  bool cancelled() const { return cancelled_.load(); }
  std::string reason() const;
  /// When the stop order came; nullopt if none did.
  std::optional<Monotonic> cancelled_at() const;

  /// Some child has ended, perhaps an orphan we inherited: wakes `wait`, which reaps it.
  void child_ended() { children_.wake(); }

  /// Waits until the process has ended (it is not reaped), the deadline passes or, if
  /// `heed_cancel`, a stop order comes. `tracked` are children others wait for.
  WaitEnd wait(const os::Process& process, Monotonic deadline, bool heed_cancel,
               const std::vector<pid_t>& tracked);

  /// Waits for a stop order. False: `stop` or the deadline came first. From any thread.
  bool wait_for_order(const StopToken& stop, Monotonic deadline) const;

  /// Lets `span` pass, but no more than until `deadline`. False: a stop order or the deadline came.
  bool pause(Duration span, Monotonic deadline) const;

 private:
  struct Order {
    std::string reason;
    std::optional<Monotonic> at;
  };
  TaskControl(os::Waker stop, os::Waker children)
      : stop_(std::move(stop)), children_(std::move(children)) {}

  const os::Waker stop_;  // readable for ever once a stop order came
  const os::Waker children_;
  std::atomic<bool> cancelled_{false};  // written once, after order_
  Guarded<Order> order_;
};

}  // namespace cirrus::agent
