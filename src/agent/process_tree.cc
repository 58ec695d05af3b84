// SPDX-License-Identifier: MIT
#include "agent/process_tree.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/strings.h"
#include "os/process_table.h"

namespace cirrus::agent {
namespace {

using Table = std::vector<os::ProcessEntry>;
using Pids = std::set<pid_t>;

void add_descendants(const Table& table, Pids& pids) {
  for (bool grew = true; grew;) {
    grew = false;
    for (const os::ProcessEntry& entry : table) {
      if (pids.contains(entry.parent) && pids.insert(entry.pid).second) grew = true;
    }
  }
}

Pids in_session(const Table& table, const StepTree& tree) {
  Pids pids;
  for (const os::ProcessEntry& entry : table) {
    if (entry.pid == tree.root || entry.session == tree.root || entry.group == tree.root) {
      pids.insert(entry.pid);
    }
  }
  add_descendants(table, pids);
  return pids;
}

/// Live processes of `tree` in the table, the root included.
std::vector<pid_t> members(const Table& table, const StepTree& tree,
                           const std::vector<StepTree>& spared) {
  Pids others;
  for (const StepTree& other : spared) others.merge(in_session(table, other));
  Pids pids = in_session(table, tree);
  for (const os::ProcessEntry& entry : table) {
    if (entry.parent != ::getpid() || entry.zombie || others.contains(entry.pid)) continue;
    // An orphan we inherited. One without a mark, because it cleared its environment, may be
    // anybody's; a step that was cut short must leave nothing, so it goes too.
    const std::optional<std::string> mark = os::variable_of(entry.pid, "CIRRUS_ENV");
    if (!mark || mark == tree.mark) pids.insert(entry.pid);
  }
  add_descendants(table, pids);
  std::vector<pid_t> live;
  for (const os::ProcessEntry& entry : table) {
    if (!entry.zombie && pids.contains(entry.pid) && !others.contains(entry.pid)) {
      live.push_back(entry.pid);
    }
  }
  return live;
}

std::vector<pid_t> roots_of(const StepTree& tree, const std::vector<StepTree>& spared) {
  std::vector<pid_t> roots{tree.root};
  for (const StepTree& other : spared) roots.push_back(other.root);
  return roots;
}

/// How long a killed process may take to be gone before the table is read again.
constexpr std::chrono::milliseconds kDyingTime{200};

/// Kills what `choose` finds in the process table until it finds nothing, reaping what is not in
/// `tracked`. The table is not read at all while we have no child: everything a step leaves behind
/// is a descendant of ours.
template <typename Choose>
void kill_until_gone(const std::vector<pid_t>& tracked, Monotonic deadline, const Choose& choose) {
  while (os::has_children()) {
    const std::vector<pid_t> live = choose(os::process_table());
    for (const pid_t pid : live) (void)::kill(pid, SIGKILL);
    const Monotonic now = std::chrono::steady_clock::now();
    os::wait_dead(live, std::min(deadline, now + kDyingTime));
    os::reap_others(tracked);
    if (live.empty() || now >= deadline) return;
  }
}

}  // namespace

void signal_tree(const StepTree& tree, const std::vector<StepTree>& spared, int signal) {
  for (const pid_t pid : members(os::process_table(), tree, spared)) (void)::kill(pid, signal);
}

void kill_session(const StepTree& tree, const std::vector<StepTree>& spared, Monotonic deadline) {
  kill_until_gone(roots_of(tree, spared), deadline, [&tree](const Table& table) {
    std::vector<pid_t> live;
    for (const os::ProcessEntry& entry : table) {
      if (!entry.zombie && (entry.session == tree.root || entry.group == tree.root)) {
        live.push_back(entry.pid);
      }
    }
    return live;
  });
}

void kill_tree(const StepTree& tree, const std::vector<StepTree>& spared, Monotonic deadline) {
  kill_until_gone(roots_of(tree, spared), deadline,
                  [&tree, &spared](const Table& table) { return members(table, tree, spared); });
}

void kill_all_descendants(Monotonic deadline) {
  kill_until_gone({}, deadline, [](const Table& table) {
    Pids pids{::getpid()};
    add_descendants(table, pids);
    pids.erase(::getpid());
    std::vector<pid_t> live;
    for (const os::ProcessEntry& entry : table) {
      if (!entry.zombie && pids.contains(entry.pid)) live.push_back(entry.pid);
    }
    return live;
  });
}

std::string describe_descendants() {
  std::multimap<pid_t, pid_t> children;
  for (const os::ProcessEntry& entry : os::process_table()) {
    if (!entry.zombie) children.emplace(entry.parent, entry.pid);
  }
  std::string text;
  const auto describe = [&](const auto& self, pid_t parent, std::size_t depth) -> void {
    const auto [first, last] = children.equal_range(parent);
    for (auto child = first; child != last; ++child) {
      text += fmt::format("{:>7} {:>7} {}{}\n", child->second, parent, std::string(depth * 2, ' '),
                          shorten(os::command_line_of(child->second), 200));
      self(self, child->second, depth + 1);
    }
  };
  describe(describe, ::getpid(), 0);
  return text;
}

}  // namespace cirrus::agent
