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
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/stop.h"
#include "cirrus_instances.pb.h"
#include "os/process.h"
#include "os/user.h"

namespace cirrus::isolation {

using IsolationSpec = org::cirruslabs::ci::services::cirruscigrpc::Isolation;

/// What every isolation needs to know.
struct LaunchRequest {
  std::string task_id;
  /// What the task asked for, after the owner's policy had its say.
  IsolationSpec spec;
  /// What the task booked on this worker.
  std::map<std::string, double> resources;
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
  /// Host path of the gateway's socket; its directory holds nothing else.
  std::filesystem::path gateway_socket;
  /// Host path for the agent's small files (scripts, CIRRUS_ENV).
  std::filesystem::path scratch_directory;
  /// Whom the task runs as; absent: the worker's user. Only isolation `none` takes it.
  std::optional<os::User> user;
  /// Holds the gateway's socket and nothing else; the only directory of the task that may be
  /// visible inside.
  std::filesystem::path guest_directory;
  /// A plain container task whole; absent: `spec` says everything.
  std::optional<org::cirruslabs::ci::services::cirruscigrpc::ContainerInstance> container_instance;
  /// Networks that a VM whose network is restricted may reach. The owner's word.
  std::vector<std::string> softnet_allow;
  /// The task's variables, as far as they are known before the launch.
  std::map<std::string, std::string> variables;
  /// Takes a line for the task's log: what a person who waits for the launch wants to see.
  std::function<void(std::string_view line)> notice = [](std::string_view) {};
};

/// Where things are as the agent sees them.
struct GuestPaths {
  std::string gateway_socket;
  std::string scratch_directory;
  std::string working_directory;
  /// Whether others have processes where the task runs: they reach its loopback.
  bool shares_machine = false;
  /// The agent is a reference CLI binary: it wants a server where our agent wants a gateway, and
  /// stop orders reach it as signals only.
  bool reference_agent = false;
};

/// What a worker must remember to find an instance again.
struct InstanceRecord {
  std::int64_t agent_pid = 0;
  std::uint64_t agent_start_time = 0;
  std::string cgroup_path;
  std::string working_directory;
  std::string task_cookie;
  /// Whatever else the isolation needs to find it again: a container's id, a VM's name.
  std::map<std::string, std::string> handles;
};

/// Which tasks, and instances that stand by, a worker has right now. Asked after it is known what
/// there is: what was begun in between must not look like what a dead task left.
using LiveTasks = std::function<std::set<std::string>()>;

/// One launched agent and all that was made for it.
class Instance {
 public:
  virtual ~Instance() = default;
  virtual const InstanceRecord& record() const = 0;
  /// What the bootstrap tells the agent about its surroundings.
  virtual GuestPaths guest_paths() const = 0;
  /// Writes the framed bootstrap to the agent.
  virtual Status send_bootstrap(std::string_view message) = 0;
  /// Waits for the agent's end. True if it has ended.
  virtual bool wait_end(const StopToken& stop, std::optional<Monotonic> deadline) = 0;
  /// Whether agents here mark that they have their bootstrap.
  virtual bool marks_receipt() const { return false; }
  /// False only if it is certain that a dead agent never had its bootstrap.
  virtual bool may_have_begun() const { return true; }
  /// How it ended, for people; empty while it lives or if nobody can know. Ask before `destroy`.
  virtual std::string end_description() const = 0;
  /// Runs shell text inside, before any task: the warm-up of what stands by. Errors:
  /// Unimplemented where there is no inside; FailedPrecondition if it exits with another status
  /// than 0.
  virtual Status run_script(const std::string& script, const StopToken& stop) {
    (void)script, (void)stop;
    return error(Code::Unimplemented, "this isolation has nothing to warm up");
  }
  /// Asks the agent to cancel its task by signal. For agents whose gateway stream is down.
  virtual void interrupt() = 0;
  /// Ends every process of the task and removes what was made. Returns the first failure.
  virtual Status destroy() = 0;
};

class Isolation {
 public:
  virtual ~Isolation() = default;
  /// True if a launch is over at once: it may overlap with TaskStarted, because an agent without a
  /// bootstrap does nothing. Others launch (pull, boot) only once the controller knows.
  virtual bool launches_at_once() const = 0;
  /// Blocks until the agent waits for its bootstrap. Errors: Cancelled on stop.
  virtual Result<std::unique_ptr<Instance>> launch(const LaunchRequest& request,
                                                   const StopToken& stop) = 0;
  /// Takes over an instance that an earlier worker launched. Its agent may be dead.
  virtual Result<std::unique_ptr<Instance>> adopt(const InstanceRecord& record) = 0;
};

}  // namespace cirrus::isolation
