// SPDX-License-Identifier: MIT
// What the kernel counted about a control group's memory. Linux only; nothing elsewhere.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>

namespace cirrus::os {

/// The memory control group a process is in, v1 or v2. Copyable; the group may vanish meanwhile.
class MemoryEvents {
 public:
  /// Nothing if the process is in no group with a memory controller that we can see.
  static std::optional<MemoryEvents> of(pid_t pid);

  /// Processes of the group that the kernel killed for want of memory; nothing once the group is
  /// gone. In v1 those of this very group, in v2 also those of groups below it.
  std::optional<std::uint64_t> kills() const;
  /// Bytes; nothing if there is no limit.
  std::optional<std::uint64_t> limit() const;

 private:
  MemoryEvents(std::filesystem::path group, bool v2) : group_(std::move(group)), v2_(v2) {}
  std::filesystem::path group_;
  bool v2_ = false;
};

}  // namespace cirrus::os
