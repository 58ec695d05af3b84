// SPDX-License-Identifier: MIT
// Time, injected. Decisions take `now` as a parameter; only this folder reads a real clock.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>

namespace cirrus {

/// For leases, timeouts and durations: never jumps.
using Monotonic = std::chrono::steady_clock::time_point;
/// For what people and peers see: may jump in either direction.
using WallTime = std::chrono::system_clock::time_point;
using Duration = std::chrono::nanoseconds;

/// Where time comes from. Thread-safe. Never fails.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Monotonic now() const = 0;
  virtual WallTime wall() const = 0;
};

/// The machine's clocks; lives for ever.
const Clock& system_clock();

/// A clock that moves only when told to. For tests.
class ManualClock final : public Clock {
 public:
  ManualClock();
  Monotonic now() const override;
  WallTime wall() const override;
  /// Moves both clocks forward.
  void advance(Duration by);
  /// Moves the wall clock only, in either direction.
  void jump_wall(Duration by);

 private:
  mutable std::mutex mutex_;
  Monotonic now_;  // guarded by mutex_
  WallTime wall_;  // guarded by mutex_
};

/// Milliseconds since 1970-01-01 UTC.
std::int64_t to_unix_millis(WallTime time);
WallTime from_unix_millis(std::int64_t millis);

/// `2026-06-01T12:34:56.789Z`.
std::string to_rfc3339(WallTime time);

}  // namespace cirrus
