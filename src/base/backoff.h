// SPDX-License-Identifier: MIT
// Backoff: growing pauses with jitter.
#pragma once

#include <algorithm>
#include <chrono>
#include <random>

namespace cirrus {

/// Each pause is twice the last, up to a limit, times a random factor of 0.7 to 1.3, so that a
/// thousand peers do not come back in one instant. Not thread-safe.
class Backoff {
 public:
  Backoff(std::chrono::nanoseconds first, std::chrono::nanoseconds limit)
      : first_(first), limit_(limit), next_(first), random_(std::random_device{}()) {}

  std::chrono::nanoseconds next() {
    const auto pause = next_;
    next_ = std::min(next_ * 2, limit_);
    const double factor = std::uniform_real_distribution<double>(0.7, 1.3)(random_);
    return std::chrono::duration_cast<std::chrono::nanoseconds>(pause * factor);
  }
  void reset() { next_ = first_; }

 private:
  std::chrono::nanoseconds first_;
  std::chrono::nanoseconds limit_;
  std::chrono::nanoseconds next_;
  std::minstd_rand random_;
};

}  // namespace cirrus
