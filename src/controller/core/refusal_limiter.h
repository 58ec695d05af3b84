// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>

#include "base/clock.h"

namespace cirrus::controller::core {

/// Counts what is refused, per source (an address, or who did what), in windows of time. It never
/// stops what is right: a good token from an address that also sends bad ones gets through, so
/// that a proxy's or a NAT's other users are not shut out. Tokens are 256 random bits; the limit
/// is against floods of audit entries and hot loops, not against guessing.
class RefusalLimiter {
 public:
  struct Limits {
    int free = 20;                    ///< refusals per window that are answered plainly
    std::chrono::seconds window{60};  ///< from the first refusal on
    std::size_t sources = 4096;       ///< that are remembered
  };
  struct Verdict {
    bool limited = false;
    bool first = false;  ///< the one that reached the limit: worth an audit entry
    std::chrono::seconds again{0};
  };

  RefusalLimiter() : RefusalLimiter(Limits{}) {}
  explicit RefusalLimiter(Limits limits) : limits_(limits) {}

  /// Counts one refusal of `source`. O(log sources).
  Verdict refused(const std::string& source, Monotonic now);

 private:
  struct Window {
    Monotonic begun{};
    int count = 0;
  };
  const Limits limits_;
  std::map<std::string, Window> windows_;
};

}  // namespace cirrus::controller::core
