// SPDX-License-Identifier: MIT
// Facts about other processes on this machine.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "os/fd.h"

namespace cirrus::os {

/// When process `pid` started, in clock ticks since boot: with the pid it names one process for
/// ever, while a pid alone may be used again. nullopt: no such process.
std::optional<std::uint64_t> process_start_time(pid_t pid);

/// True if `pid` is alive (a zombie is not) and started at `start_time`.
bool is_alive(pid_t pid, std::uint64_t start_time);

/// A descriptor that becomes readable when `pid` ends; invalid if there is no such process.
Fd open_pidfd(pid_t pid);

/// Pids of live processes that have `KEY=value` in the environment they were started with. Costs
/// a walk over all processes (about 10 µs each). Processes we may not read are left out.
std::vector<pid_t> processes_with_variable(std::string_view key, std::string_view value);

/// The entries of a directory that are numbers: processes of `/proc`, threads of `task`,
/// descriptors of `fd`. Empty if it cannot be read.
std::vector<int> numbers_in(const std::string& directory);

/// Pids of the children of `pid`, dead ones included; nullopt if the kernel does not keep such
/// lists or there is no such process. One that begins or ends meanwhile may be missing. Costs one
/// file per thread of `pid`, however many processes there are. Source: proc_pid_children(5).
std::optional<std::vector<pid_t>> children_of(pid_t pid);

/// Pids of all live descendants of `ancestor`, without itself, from a walk over all processes.
std::vector<pid_t> descendants_of(pid_t ancestor);

/// Makes this process adopt orphaned descendants instead of init. Descendants of agents stay
/// findable that way.
void become_subreaper();

}  // namespace cirrus::os
