// SPDX-License-Identifier: MIT
// Isolation: where an agent is launched. It knows a command line, never the agent's code.
//
// Call order: launch (or adopt after a worker's restart), send_bootstrap at most once, wait_end,
// destroy. `destroy` is safe at any time, also after a failed launch or twice, and tears down
// every step even if an earlier one fails, keeping the first error.
// Thread-safe: one instance is used by one thread, except `interrupt`.
// Errors: what a person reads as the task's failure; PermissionDenied is a policy's word.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/stop.h"
#include "os/process.h"

namespace cirrus::isolation {

/// What every isolation needs to know.
struct LaunchRequest {
  std::string task_id;
  /// The agent program for this host.
  std::filesystem::path agent_program;
  /// `agent.lock` of the task: held by the agent for its life.
  std::filesystem::path lock_file;
  /// Where the agent's own output goes.
  std::filesystem::path agent_log;
  /// The agent's process environment.
  os::Environment environment;
  /// Found again by it after a crash of everything.
  std::string task_cookie;
};

/// What a worker must remember to find an instance again.
struct InstanceRecord {
  std::int64_t agent_pid = 0;
  std::uint64_t agent_start_time = 0;
  std::string cgroup_path;
  std::string working_directory;
  std::string task_cookie;
};

/// One launched agent and all that was made for it.
class Instance {
 public:
  virtual ~Instance() = default;
  virtual const InstanceRecord& record() const = 0;
  /// Writes the framed bootstrap to the agent.
  virtual Status send_bootstrap(std::string_view message) = 0;
  /// Waits for the agent's end. True if it has ended.
  virtual bool wait_end(const StopToken& stop, std::optional<Monotonic> deadline) = 0;
  /// How it ended, for people; empty while it lives or if nobody can know.
  virtual std::string end_description() const = 0;
  /// Asks the agent to cancel its task by signal. For agents whose gateway stream is down.
  virtual void interrupt() = 0;
  /// Ends every process of the task and removes what was made. Returns the first failure.
  virtual Status destroy() = 0;
};

class Isolation {
 public:
  virtual ~Isolation() = default;
  virtual Result<std::unique_ptr<Instance>> launch(const LaunchRequest& request,
                                                   const StopToken& stop) = 0;
  /// Takes over an instance that an earlier worker launched. Its agent may be dead.
  virtual Result<std::unique_ptr<Instance>> adopt(const InstanceRecord& record) = 0;
};

}  // namespace cirrus::isolation
