// SPDX-License-Identifier: MIT
// The processes of one step, wherever they went.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/clock.h"

namespace cirrus::agent {

/// How the processes of a step are told from others: they are in the session of its root, or
/// descend from such a process, or were inherited by us (a subreaper) and carry its mark.
struct StepTree {
  pid_t root = 0;    ///< leader of its own session
  std::string mark;  ///< the step's CIRRUS_ENV, unique to it
};

/// Kills what is left in the session of a script that has ended, and reaps it except for the root.
/// A daemon, which has left the session, lives on until the end of the task: later steps use what
/// `service x start` began. Source: reference agent, which kills the process group. Costs one
/// system call when there is nothing left.
void kill_session(const StepTree& tree, const std::vector<StepTree>& spared, Monotonic deadline);

/// Sends `signal` once to every process of `tree`. Those of `spared` (live background steps) are
/// left alone, whatever their state.
void signal_tree(const StepTree& tree, const std::vector<StepTree>& spared, int signal);

/// Kills until nothing of the tree is left, however it forks, and reaps it except for the root.
/// Costs one system call when nothing is left at the start. Gives up after `deadline`.
void kill_tree(const StepTree& tree, const std::vector<StepTree>& spared, Monotonic deadline);

/// Kills and reaps every descendant of this process: the end of the task.
void kill_all_descendants(Monotonic deadline);

/// Lines of `PID PPID command`, indented below their parents: what ran when the time was up.
std::string describe_descendants();

}  // namespace cirrus::agent
