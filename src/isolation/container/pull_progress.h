// SPDX-License-Identifier: MIT
// What a person wants to see of a pull or a build: the engine's messages, thinned out.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace cirrus::isolation {

/// Takes the JSON messages of one pull or build in their order. Not thread-safe; no engine, no
/// clock of its own.
class PullProgress {
 public:
  /// Ours: a line this often while layers arrive.
  static constexpr std::chrono::seconds kInterval{3};

  /// The text for the log that this message is worth, if any; it ends without a line break.
  /// Messages that are no JSON objects are worth nothing.
  std::optional<std::string> feed(std::string_view message, Monotonic now);

 private:
  struct Layer {
    std::uint64_t done = 0;
    std::uint64_t total = 0;
  };
  std::string summary() const;

  std::map<std::string, Layer, std::less<>> layers_;
  std::optional<Monotonic> last_;
};

}  // namespace cirrus::isolation
