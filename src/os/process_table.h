// SPDX-License-Identifier: MIT
// All processes at one moment, and the ends of those that are not ours to wait for one by one.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace cirrus::os {

struct ProcessEntry {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  bool zombie = false;
};

/// Every process that can be seen. About 10 µs each.
std::vector<ProcessEntry> process_table();

/// The arguments of a process joined by spaces, its name in brackets where it has none; empty if
/// it is gone.
std::string command_line_of(pid_t pid);

/// A variable of the environment the process was started with; nullopt if it has none such, may
/// not be looked at or is gone.
std::optional<std::string> variable_of(pid_t pid, std::string_view key);

/// Live processes that have the pipe behind our descriptor open, without ourselves. Those we may
/// not look at are left out.
std::vector<pid_t> holders_of_pipe(int fd);

/// True if this process has any child, dead or alive. One system call.
bool has_children();

/// Reaps dead children that are not in `tracked`: orphans a subreaper inherited.
void reap_others(const std::vector<pid_t>& tracked);

/// Waits until all are dead (a zombie is) or the deadline passes.
void wait_dead(const std::vector<pid_t>& pids, Monotonic deadline);

}  // namespace cirrus::os
