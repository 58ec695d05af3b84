// SPDX-License-Identifier: MIT
#include "isolation/none/tree_end.h"

#include <signal.h>

#include <vector>

#include "base/clock.h"
#include "base/stop.h"
#include "os/cgroup.h"
#include "os/proc.h"

namespace cirrus::isolation {

namespace {

constexpr auto kEndTime = std::chrono::seconds(10);

// Kills what `find` finds, again and again until it finds nothing: a process that forks while we
// look is found in the next round.
template <typename Find>
Status kill_until_gone(const Find& find) {
  const Monotonic deadline = system_clock().now() + kEndTime;
  for (;;) {
    const std::vector<pid_t> survivors = find();
    if (survivors.empty()) return {};
    if (system_clock().now() > deadline) {
      return error(Code::Internal, "{} process(es) of the task cannot be killed, such as {}",
                   survivors.size(), survivors.front());
    }
    for (const pid_t pid : survivors) (void)::kill(pid, SIGKILL);
    wait_for(StopToken(), std::chrono::milliseconds(2));
  }
}

}  // namespace

Status end_group(const std::string& path) {
  const os::Cgroup group = os::Cgroup::at(path);
  const Monotonic deadline = system_clock().now() + kEndTime;
  while (!group.empty()) {
    if (system_clock().now() > deadline) {
      return error(Code::Internal, "processes in cgroup '{}' cannot be killed", path);
    }
    CIRRUS_TRY(group.kill());
    wait_for(StopToken(), std::chrono::milliseconds(1));
  }
  Status removed = group.remove();
  // The last process may still be leaving.
  for (int attempt = 0; !removed.ok() && attempt < 100; ++attempt) {
    wait_for(StopToken(), std::chrono::milliseconds(2));
    removed = group.remove();
  }
  return removed;
}

Status end_tree(const TreeRoots& roots) {
  Status first;
  const auto keep = [&first](Status status) {
    if (first.ok() && !status.ok()) first = std::move(status);
  };
  if (roots.agent > 0 && os::is_alive(roots.agent, roots.agent_start_time)) {
    (void)::kill(roots.agent, SIGSTOP);
    keep(kill_until_gone([&] { return os::descendants_of(roots.agent); }));
    (void)::kill(roots.agent, SIGKILL);
  }
  if (!roots.cgroup_path.empty()) {
    keep(end_group(roots.cgroup_path));
  } else if (!roots.task_cookie.empty()) {
    keep(kill_until_gone(
        [&] { return os::processes_with_variable("CIRRUS_TASK_COOKIE", roots.task_cookie); }));
  }
  return first;
}

}  // namespace cirrus::isolation
