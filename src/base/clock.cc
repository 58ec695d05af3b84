// SPDX-License-Identifier: MIT
#include "base/clock.h"

#include <ctime>

#include <fmt/format.h>

namespace cirrus {

namespace {
class SystemClock final : public Clock {
 public:
  Monotonic now() const override { return std::chrono::steady_clock::now(); }
  WallTime wall() const override { return std::chrono::system_clock::now(); }
};
}  // namespace

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

ManualClock::ManualClock()
    : now_(Monotonic(std::chrono::hours(1000))), wall_(from_unix_millis(1'780'315'200'000)) {}

Monotonic ManualClock::now() const {
  const std::lock_guard lock(mutex_);
  return now_;
}

WallTime ManualClock::wall() const {
  const std::lock_guard lock(mutex_);
  return wall_;
}

void ManualClock::advance(Duration by) {
  const std::lock_guard lock(mutex_);
  now_ += std::chrono::duration_cast<Monotonic::duration>(by);
  wall_ += std::chrono::duration_cast<WallTime::duration>(by);
}

void ManualClock::jump_wall(Duration by) {
  const std::lock_guard lock(mutex_);
  wall_ += std::chrono::duration_cast<WallTime::duration>(by);
}

std::int64_t to_unix_millis(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

WallTime from_unix_millis(std::int64_t millis) {
  return WallTime(std::chrono::milliseconds(millis));
}

std::string to_rfc3339(WallTime time) {
  const std::int64_t millis = to_unix_millis(time);
  std::int64_t seconds = millis / 1000;
  std::int64_t rest = millis % 1000;
  if (rest < 0) {
    rest += 1000;
    --seconds;
  }
  const std::time_t as_time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&as_time, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     rest);
}

}  // namespace cirrus
