// SPDX-License-Identifier: MIT
// How much processor time and memory something uses.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/result.h"

namespace cirrus::os {

struct Usage {
  double cpu_seconds = 0;  ///< since some moment that stays the same
  std::uint64_t memory_bytes = 0;
};

/// What it may use at the most.
struct UsageLimits {
  double cpus = 0;
  std::uint64_t memory_bytes = 0;
};

/// Reads one scope again and again. Copyable.
class UsageMeter {
 public:
  /// The descendants of this process, and those it has already waited for: for a machine that
  /// others use too.
  static UsageMeter of_descendants();
  /// Our control group (v1 or v2), and where there is none the whole machine: for a container or
  /// a VM that is one task's alone. Page cache that could be dropped does not count as memory.
  /// Source: reference agent, metrics.
  static UsageMeter of_surroundings();

  /// Errors: Unavailable if the kernel does not say.
  Result<Usage> read() const;
  /// Ours: limits of the control group where it has some; the reference says the machine's.
  UsageLimits limits() const;

 private:
  enum class Scope { Descendants, Group, Machine };
  struct Group {
    std::filesystem::path path;
    bool v2 = false;
  };
  Scope scope_ = Scope::Machine;
  Group cpu_;
  Group memory_;
};

}  // namespace cirrus::os
