// SPDX-License-Identifier: MIT
// How every process of a task is found and ended, whatever it did to hide.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace cirrus::isolation {

/// What is known about a task's processes. Empty or 0: not known.
struct TreeRoots {
  pid_t agent = 0;
  std::uint64_t agent_start_time = 0;
  std::string cgroup_path;
  std::string task_cookie;
};

/// Kills the group's processes until there are none, and removes it. A group that is gone is
/// success. Errors: Internal if something does not die within 10 s.
Status end_group(const std::string& path);

/// Kills every process of the task and returns when none is left:
///   1. a live agent is stopped, so that it starts nothing more, and all that descends from it is
///      killed: it adopts orphans, so also what forked twice or left its session;
///   2. the agent;
///   3. its control group, which also holds what outlived a dead agent;
///   4. without a group, whatever carries the task's cookie in its environment.
/// Errors: Internal as above; the first one, after all steps were tried.
Status end_tree(const TreeRoots& roots);

}  // namespace cirrus::isolation
