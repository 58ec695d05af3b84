// SPDX-License-Identifier: MIT
// Isolations `tart` and `vetu`: the agent runs in a virtual machine of its own.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "isolation/isolation.h"
#include "isolation/vm/guest_agent.h"

namespace cirrus::isolation {

/// Words for `vetu run`, for one VM at a time whose task booked no more than these amounts.
/// Source: reference worker, resource modifiers.
struct VmModifier {
  std::map<std::string, double> match;
  std::vector<std::string> run;
};

struct VmOptions {
  /// Of the tools' own processes.
  os::Environment environment;
  AgentPrograms agents;
  std::vector<VmModifier> modifiers;
  /// 0: none. Source: reference worker, tuning.
  std::uint32_t vetu_mtu = 0;
  /// Part of every VM's name, so that exactly ours are removed after a crash. The same for every
  /// life of one worker; letters and digits.
  std::string owner;
  /// A directory for files that say which tools were ever used: only those are searched at start.
  std::filesystem::path state_directory;
  /// From `run` to a login over SSH. Source: reference worker, VM back-ends.
  std::chrono::seconds boot_time{600};
};

class VmIsolation : public Isolation {
 public:
  /// Removes VMs of this owner whose task is not in `live_tasks`: what a killed worker left.
  /// Errors are logged.
  virtual void remove_leftovers(const LiveTasks& live_tasks) = 0;
};

/// For both tools: which one, the task's isolation says. Never blocks.
std::unique_ptr<VmIsolation> make_vm(VmOptions options);

}  // namespace cirrus::isolation
