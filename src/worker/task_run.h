// SPDX-License-Identifier: MIT
// TaskRun: one task on this worker, from the assignment to TaskStopped.
//
//   Assigned --agent launched, TaskStarted answered--> Bootstrapped --agent gone, all forwarded-->
//   Ended --TaskStopped answered--> removed
//
// A restarted worker resumes from task.pb: Assigned starts afresh (the agent never knew what to
// do), Bootstrapped adopts the agent if it lives and reports its death if not, Ended only reports.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/guarded.h"
#include "gateway/gateway.h"
#include "isolation/isolation.h"
#include "worker/security_policy.h"
#include "worker/session.h"
#include "worker/standby.h"
#include "worker/task_record.h"

namespace cirrus::worker {

/// What all tasks of a worker share. A reload makes a new one for tasks that start after it.
struct TaskEnvironment {
  std::filesystem::path tasks_directory;
  std::filesystem::path run_directory;
  std::filesystem::path agent_program;
  os::Environment agent_environment;
  std::chrono::milliseconds cancel_grace{30'000};
  gateway::Gateway* gateway = nullptr;
  /// Instances that may be there already; null: none.
  Standby* standby = nullptr;
  /// Chosen by the task's isolation message; null if this worker has none of that kind.
  std::function<isolation::Isolation*(const rpc::pb::Isolation&)> isolation_for;
  SecurityPolicy security;
  /// Whom tasks of isolation `none` run as; absent: the worker's user.
  std::optional<os::User> task_user;
  /// Bytes that must be free before a task starts; 0: no check.
  std::uint64_t min_free_space = 0;
  /// Whether tasks that share this machine fetch through its mirrors.
  bool mirror_without_isolation = true;
};

/// Owns the task's thread. Thread-safe.
class TaskRun {
 public:
  /// `on_end` is called once, from the task's thread, when nothing is left to do or to report;
  /// the object may be destroyed after that from another thread.
  /// `on_released` is called once before that, when no process of the task is left.
  TaskRun(std::shared_ptr<const TaskEnvironment> environment, std::shared_ptr<Session> session,
          TaskRecord record, std::function<void(const std::string& id)> on_end,
          std::function<void()> on_released);
  /// Detaches: stops following the task and leaves the agent running.
  ~TaskRun();

  const std::string& id() const { return id_; }
  const std::string& upstream_endpoint() const { return session_->endpoint(); }
  const std::map<std::string, double>& resources() const { return resources_; }
  /// What could stand by for it; null: nothing.
  const rpc::pb::Isolation* wanted() const { return wanted_ ? &*wanted_ : nullptr; }
  /// Its amounts are booked: it may start. Until then it waits (a stop order ends the wait).
  void admit();
  /// Admitted, and its processes may still live.
  bool holds_resources() const {
    return state_.with([](const State& s) { return s.admitted && !s.released; });
  }
  /// Nothing of it runs (any more): its amounts are free, only reports are left.
  bool released() const {
    return state_.with([](const State& s) { return s.released; });
  }
  /// A stop order: the agent may still run what must always run, within the grace.
  void cancel(const std::string& reason);
  /// Ends every process of the task now.
  void kill(const std::string& reason);
  /// Stops following without waiting.
  void request_detach() { thread_.request_stop(); }
  /// For the heartbeat thread: whether an agent of ours is at work.
  bool agent_alive() const {
    return state_.with([](const State& s) { return s.agent_alive; });
  }
  rpc::TaskService& service() { return *service_; }

 private:
  struct State {
    std::optional<std::string> cancelled;
    std::optional<Monotonic> kill_at;
    bool agent_alive = false;
    bool admitted = false;
    bool released = false;
    StopSource launch;  // ends a pull or a boot
  };

  void run(const StopToken& stop);
  void run_phases(const StopToken& stop);
  // Each phase returns false if the task is over for this thread (detached, or dropped).
  bool start(const StopToken& stop);
  bool wait_for_admission(const StopToken& stop);
  bool launch(const StopToken& stop);
  bool announce(const StopToken& stop);
  bool hand_over(const StopToken& stop);
  void adopt(const StopToken& stop);
  // Whether an adopted task's agent is gone without ever having heard of it.
  bool never_began(const StopToken& stop);
  void start_over();
  void follow(const StopToken& stop);
  void tear_down();
  void report_end(const StopToken& stop);
  void clean_up();

  Status open_gateway();
  /// Lets the task fetch its repository through the worker's mirror, if there are mirrors.
  void offer_mirror(bool shares_machine);
  /// Lets the task ask its Vault server through the worker.
  void offer_vault(bool shares_machine);
  void remember_instance();
  // A line of the worker's own in the log of the task's first step, once that step is known.
  void note(std::string_view line);
  void write_notes();
  // After a launch that failed: what was noted still reaches the controller.
  void flush_notes(const StopToken& stop);
  gateway::TaskPaths paths() const;
  static rpc::TaskCredential credential_of(const TaskRecord& record);
  void save();
  void fail(const Error& failure);
  // Calls until it succeeds, the server says no for good, or the thread is to stop.
  Status persist(const StopToken& stop, const char* what,
                 const std::function<Status(Monotonic deadline)>& call);

  const std::shared_ptr<const TaskEnvironment> environment_;
  const std::shared_ptr<Session> session_;
  const std::string id_;
  const std::map<std::string, double> resources_;
  const std::optional<rpc::pb::Isolation> wanted_;
  const std::function<void(const std::string&)> on_end_;
  const std::function<void()> on_released_;
  std::unique_ptr<rpc::TaskService> service_;
  // The task's thread only:
  TaskRecord record_;
  std::unique_ptr<isolation::Instance> instance_;
  std::shared_ptr<gateway::TaskGateway> gateway_;
  std::string notes_;   // not yet in a log
  bool report_ = true;  // false: the server never knew or does not want to know

  Guarded<State> state_;
  Thread thread_;  // last: uses everything above
};

}  // namespace cirrus::worker
