// SPDX-License-Identifier: MIT
// The prefixes CIRRUS_LOG_TIMESTAMP asks for.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"

namespace cirrus::agent {

/// Puts `[HH:MM:SS.mmm] ` (local time) before the first byte of every line, when that byte
/// arrives. A newline at the end starts no line. Source: reference agent.
class TimeStamps {
 public:
  explicit TimeStamps(const Clock& clock) : clock_(clock) {}
  std::string apply(std::string_view bytes);

 private:
  const Clock& clock_;
  bool at_line_start_ = true;
};

}  // namespace cirrus::agent
