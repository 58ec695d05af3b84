// SPDX-License-Identifier: MIT
// Worker: the daemon. Adopts what an earlier one left, serves its upstreams, runs their tasks.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "isolation/isolation.h"
#include "os/file_lock.h"
#include "worker/settings.h"
#include "worker/shell_carrier.h"
#include "worker/standby.h"
#include "worker/task_run.h"
#include "worker/task_span.h"
#include "worker/upstream_loop.h"
#include "worker/worker_facts.h"

namespace cirrus::worker {

/// What the composition root brings. Everything must outlive the worker.
struct WorkerParts {
  std::filesystem::path state_directory;
  std::filesystem::path run_directory;
  std::filesystem::path agent_program;
  /// `<version>`, for the reserved label.
  std::string version;
  /// A container engine is likely to be found: said with the label `cirrus.containers` where the
  /// owner's policy allows that isolation, so that plain `container:` tasks find this worker.
  bool has_container_engine = false;
  gateway::Gateway* gateway = nullptr;
  /// Chosen by the task's isolation message; null if this worker has none of that kind.
  std::function<isolation::Isolation*(const rpc::pb::Isolation&)> isolation_for;
  std::function<Result<std::unique_ptr<rpc::Upstream>>(const UpstreamSettings&,
                                                       const std::string& instance)>
      connect;
  /// Called once in the background after adoption: isolations remove what dead tasks left. May be
  /// empty.
  std::function<void(const isolation::LiveTasks& live_tasks)> remove_leftovers;
};

/// Why a worker's life ended.
struct WorkerEnd {
  enum class Kind { Drained, ShutDown, Detached, Refused, Finished } kind = Kind::Drained;
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
  /// Takes over what may change while tasks run: labels, resources, security, the tasks' settings.
  /// What is running keeps the settings it started with; less resources hold for new work only.
  /// Returns a line for each change, and one for each that needs a restart.
  std::vector<std::string> reload(Settings settings);
  /// Stop orders for all tasks; a second call kills them.
  void cancel_all();
  /// Ends at once and leaves every agent running for the next worker.
  void detach();
  std::size_t running() const;
  /// What a monitoring system wants to know. Thread-safe.
  WorkerFacts facts() const;
  /// The spans of tasks that ended since it was called last, oldest first and at most kMaxSpans:
  /// older ones are dropped. None unless the settings say `traces`. Thread-safe.
  std::vector<TaskSpan> take_spans();
  static constexpr std::size_t kMaxSpans = 2048;  ///< Source: OpenTelemetry, queue of spans.
  /// What those upstreams say which answer within `patience` each: whether this worker is paused
  /// there. Blocks. Thread-safe.
  std::map<std::string, bool> ask_paused(Duration patience, const StopToken& stop) const;

  rpc::pb::PollRequest make_poll(const Session& session) override;
  bool wants_tasks() override;
  void on_reply(const std::shared_ptr<Session>& session,
                const rpc::pb::PollResponse& reply) override;
  void on_refused(const Session& session, const Error& reason) override;

 private:
  struct State {
    std::map<std::string, std::shared_ptr<TaskRun>> tasks;
    std::map<std::string, TaskSpan> spans;  // of the tasks, whether they are exported or not
    std::deque<TaskSpan> ended_spans;
    std::vector<std::string> waiting;  // ids that are not admitted yet, in their order
    std::uint64_t started = 0;
    InstanceCounts instances;
    std::set<std::string> live_labels;  // of adopted tasks: what isolations must not remove
    Monotonic idle_since{};
    std::optional<Monotonic> drain_deadline;
    bool low_on_space = false;                       // said once
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
  /// Listens for shells of an upstream that announces them; once for each.
  void carry_shells(const std::shared_ptr<Session>& session);
  std::shared_ptr<const Settings> settings() const;
  std::shared_ptr<const TaskEnvironment> environment() const;
  Result<TaskEnvironment> make_environment(const Settings& settings) const;
  void admit_waiting(State& state, const std::map<std::string, double>& total);
  bool standby_fits(const std::map<std::string, double>& booked, bool single) const;
  StandbyParts standby_parts();
  void admit_more();
  void watch_life(const StopToken& stop);
  void task_ended(const std::string& id);
  static void end_span(State& state, const std::string& id);
  void heartbeat_loop(const StopToken& stop);
  void beat(const StopToken& stop);
  rpc::pb::WorkerInfo worker_info() const;

  struct Current {
    std::shared_ptr<const Settings> settings;
    std::shared_ptr<const TaskEnvironment> environment;
  };

  const WorkerParts parts_;
  const os::FileLock lock_;
  Guarded<Current> current_;
  std::unique_ptr<Standby> standby_;                // constant after start; tasks use it
  std::vector<std::shared_ptr<Session>> sessions_;  // constant after start
  Guarded<State> state_;
  Guarded<std::map<const Session*, std::unique_ptr<ShellCarrier>>> shells_;
  std::vector<std::unique_ptr<UpstreamLoop>> loops_;  // constant after start
  Thread heartbeat_;                                  // uses everything above, as does the next
  Thread life_;
  Thread cleaner_;
};

}  // namespace cirrus::worker
