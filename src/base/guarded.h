// SPDX-License-Identifier: MIT
// Guarded<T>: data that can be reached only under its own lock.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/stop.h"

namespace cirrus {

/// Owns a T and its mutex. Never call out, log or do I/O inside `with`.
/// `wait` variants wake on `notify_all`, on a stop request and at the deadline.
template <typename T>
class Guarded {
 public:
  Guarded() = default;
  explicit Guarded(T value) : value_(std::move(value)) {}
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  /// Calls `body(T&)` under the lock and returns what it returns.
  template <typename Body>
  decltype(auto) with(Body&& body) {
    const std::lock_guard lock(mutex_);
    return std::forward<Body>(body)(value_);
  }
  template <typename Body>
  decltype(auto) with(Body&& body) const {
    const std::lock_guard lock(mutex_);
    return std::forward<Body>(body)(value_);
  }
  /// As `with`, then wakes every waiter.
  template <typename Body>
  decltype(auto) update(Body&& body) {
    struct Notify {
      std::condition_variable_any& changed;
      ~Notify() { changed.notify_all(); }
    } const notify{changed_};
    const std::lock_guard lock(mutex_);
    return std::forward<Body>(body)(value_);
  }
  /// Waits until `ready(T&)` is true, stop is requested, or the deadline passes; then calls
  /// `body(T&, bool ready)` under the same lock and returns what it returns.
  template <typename Ready, typename Body>
  decltype(auto) wait_until(StopToken stop, std::chrono::steady_clock::time_point deadline,
                            Ready&& ready, Body&& body) {
    std::unique_lock lock(mutex_);
    const bool is_ready =
        changed_.wait_until(lock, std::move(stop), deadline, [&] { return ready(value_); });
    return std::forward<Body>(body)(value_, is_ready);
  }
  /// As wait_until without a deadline; for waits that only work or a stop can end.
  template <typename Ready, typename Body>
  decltype(auto) wait(StopToken stop, Ready&& ready, Body&& body) {
    std::unique_lock lock(mutex_);
    const bool is_ready = changed_.wait(lock, std::move(stop), [&] { return ready(value_); });
    return std::forward<Body>(body)(value_, is_ready);
  }
  void notify_all() { changed_.notify_all(); }

 private:
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  T value_{};  // guarded by mutex_
};

}  // namespace cirrus
