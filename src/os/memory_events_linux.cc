// SPDX-License-Identifier: MIT
// A darwin twin has nothing to tell: `of` finds no group there.
#include "os/control_group.h"
#include "os/memory_events.h"

namespace cirrus::os {

std::optional<MemoryEvents> MemoryEvents::of(pid_t pid) {
  // Where both exist, the memory controller is in one of them only: the one with the counters.
  for (const bool v2 : {false, true}) {
    const std::optional<ControlGroup> group = control_group_of(pid, "memory", v2);
    if (!group) continue;
    const MemoryEvents events(group->path, v2);
    if (events.kills()) return events;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> MemoryEvents::kills() const {
  return number_after(group_ / (v2_ ? "memory.events" : "memory.oom_control"), "oom_kill ");
}

std::optional<std::uint64_t> MemoryEvents::limit() const {
  // v1 writes "no limit" as a number near the largest; v2 as a word.
  constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60U;
  const std::optional<std::uint64_t> bytes =
      number_after(group_ / (v2_ ? "memory.max" : "memory.limit_in_bytes"), "");
  return bytes && *bytes < kNoLimit ? bytes : std::nullopt;
}

}  // namespace cirrus::os
