// SPDX-License-Identifier: MIT
// Worker: the daemon. Adopts what an earlier one left, serves its upstreams, runs their tasks.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "isolation/isolation.h"
#include "os/file_lock.h"
#include "worker/settings.h"
#include "worker/task_run.h"
#include "worker/upstream_loop.h"

namespace cirrus::worker {

/// What the composition root brings. Everything must outlive the worker.
struct WorkerParts {
  std::filesystem::path state_directory;
  std::filesystem::path run_directory;
  std::filesystem::path agent_program;
  /// `<version>`, for the reserved label.
  std::string version;
  gateway::Gateway* gateway = nullptr;
  isolation::Isolation* none = nullptr;
  std::function<Result<std::unique_ptr<rpc::Upstream>>(const UpstreamSettings&,
                                                       const std::string& instance)>
      connect;
};

/// Why a worker's life ended.
struct WorkerEnd {
  enum class Kind { Drained, ShutDown, Detached, Refused } kind = Kind::Drained;
  std::string reason;
};

class Worker final : public PollOwner {
 public:
  /// Adopts tasks first, then registers and polls. Errors: AlreadyExists if another worker uses
  /// the state directory; PermissionDenied.
  static Result<std::unique_ptr<Worker>> start(Settings settings, WorkerParts parts);
  ~Worker() override;

  /// Blocks until the worker is over: drained, told to shut down, detached or refused.
  WorkerEnd wait();
  /// Takes no new tasks and ends when the last one has. Thread-safe, as are the next two.
  void drain();
  /// Stop orders for all tasks; a second call kills them.
  void cancel_all();
  /// Ends at once and leaves every agent running for the next worker.
  void detach();
  std::size_t running() const;

  rpc::pb::PollRequest make_poll(const Session& session) override;
  void on_reply(const std::shared_ptr<Session>& session,
                const rpc::pb::PollResponse& reply) override;
  void on_refused(const Session& session, const Error& reason) override;

 private:
  struct State {
    std::map<std::string, std::shared_ptr<TaskRun>> tasks;
    std::vector<std::shared_ptr<TaskRun>> finished;  // to be joined outside the lock
    bool draining = false;
    bool cancelled = false;
    std::optional<WorkerEnd> end;
    std::map<std::string, std::string> refused;  // endpoint -> reason
  };

  Worker(Settings settings, WorkerParts parts, os::FileLock lock);
  Status open_sessions();
  void adopt_all();
  void start_task(const std::shared_ptr<Session>& session,
                  const rpc::pb::PollResponse::AgentAwareTask& task);
  void run_task(const std::shared_ptr<Session>& session, TaskRecord record);
  void task_ended(const std::string& id);
  void heartbeat_loop(const StopToken& stop);
  rpc::pb::WorkerInfo worker_info() const;

  const Settings settings_;
  const WorkerParts parts_;
  const os::FileLock lock_;
  TaskEnvironment environment_;                     // constant after start
  std::vector<std::shared_ptr<Session>> sessions_;  // constant after start
  Guarded<State> state_;
  std::vector<std::unique_ptr<UpstreamLoop>> loops_;  // constant after start
  Thread heartbeat_;                                  // last: uses everything above
};

}  // namespace cirrus::worker
