// SPDX-License-Identifier: MIT
// Upstream: a controller as a worker sees it.
//
// Call order: register_worker, then poll again and again; the task reports in between.
// Thread-safe. Errors: the server's status code. Every call blocks until its deadline or a stop
// request (Cancelled).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cirrus_workers.pb.h"
#include "rpc/shell_hub.h"
#include "rpc/task_service.h"

namespace cirrus::rpc {

/// Who a worker is towards one upstream.
struct WorkerIdentity {
  Secret registration_token;
  std::string worker_name;
  /// Random, once per state directory; travels as metadata.
  std::string instance;
};

struct RegisterReply {
  Secret session_token;
  Features server;
};

struct PollReply {
  pb::PollResponse response;
  Features server;
};

/// What a server believes about a worker.
struct RunningTasks {
  std::vector<std::string> ids;
  bool disabled = false;  ///< paused or cordoned: it gets no new tasks
};

/// What goes with a poll beside the message.
struct PollContext {
  Secret session;
  /// Grows with every poll of a machine, so that the server can tell a new poll from a parked one
  /// and from one that comes late, also of an earlier process.
  std::uint64_t number = 0;
  /// The worker takes no new tasks (feature of ours; a reference server never sees this).
  bool draining = false;
  /// The worker's last poll: it ends, and its name is free (feature of ours).
  bool leaving = false;
};

class Upstream {
 public:
  virtual ~Upstream() = default;
  /// The endpoint as configured, for logs and for agents.
  virtual const std::string& endpoint() const = 0;
  /// `number`: of the last poll before, see PollContext.
  virtual Result<RegisterReply> register_worker(const pb::WorkerInfo& info, std::uint64_t number,
                                                const StopToken& stop, Monotonic deadline) = 0;
  virtual Result<PollReply> poll(const pb::PollRequest& request, const PollContext& context,
                                 const StopToken& stop, Monotonic deadline) = 0;
  virtual Status task_started(const Secret& session, const TaskCredential& task,
                              const StopToken& stop, Monotonic deadline) = 0;
  virtual Status task_failed(const Secret& session, const TaskCredential& task,
                             const std::string& message, const StopToken& stop,
                             Monotonic deadline) = 0;
  virtual Status task_stopped(const Secret& session, const TaskCredential& task,
                              const StopToken& stop, Monotonic deadline) = 0;
  /// Pauses (true) or resumes this worker's name; the state the server now has.
  virtual Result<bool> set_disabled(bool disabled, const StopToken& stop, Monotonic deadline) = 0;
  /// What the server believes to run here.
  virtual Result<RunningTasks> running_tasks(const StopToken& stop, Monotonic deadline) = 0;
  /// The same server as the task's agent sees it. Must not outlive this object.
  virtual std::unique_ptr<TaskService> task_service(TaskCredential credential) = 0;
  /// Shells that people open through this server (feature `shells`), with the session that is good
  /// at the time of each call. Null from a server without them. Must not outlive this object.
  virtual std::unique_ptr<ShellLink> shells(std::function<Secret()> session) = 0;
};

}  // namespace cirrus::rpc
