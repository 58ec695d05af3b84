// SPDX-License-Identifier: MIT
// TaskRun: the steps of one task, in order, to their end.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/cache_step.h"
#include "agent/environment.h"
#include "agent/http_cache/http_cache.h"
#include "agent/log_pump.h"
#include "agent/outbox.h"
#include "agent/resource_monitor.h"
#include "agent/script_runner.h"
#include "agent/shells.h"
#include "agent/step_log.h"
#include "agent/step_stop.h"
#include "agent/task_control.h"
#include "agent/task_setup.h"
#include "cirrus_gateway.pb.h"
#include "model/clone_plan.h"
#include "model/secrets.h"
#include "rpc/blob_service.h"
#include "rpc/byte_channel.h"
#include "rpc/vault_link.h"

namespace cirrus::agent {

/// How long past a task's time its agent looks for a gateway. Source: the worker's rule for agents
/// nobody adopts.
inline constexpr std::chrono::minutes kGatewayPatience{15};

/// What a task run works with; all of it outlives the run.
struct TaskParts {
  const gateway::v1::Bootstrap& bootstrap;
  os::Environment inherited;
  Outbox& outbox;
  LogPump& pump;
  TaskControl& control;
  const Clock& clock;
  /// The task's caches and artifacts.
  rpc::BlobService& blobs;
  /// The way to its repository's mirror; null: none.
  rpc::TunnelLink* tunnels = nullptr;
  /// The way to its Vault server; null: none.
  rpc::VaultLink* vault = nullptr;
  /// The way of people into it; null: none.
  rpc::ShellLink* shells = nullptr;
  /// Called once, after the first process was spawned or when there is none to spawn: the time to
  /// open the connection, which must not delay the first script.
  std::function<void()> on_started;
  std::chrono::nanoseconds gateway_patience = kGatewayPatience;
};

/// How a step ended.
struct StepOutcome {
  bool succeeded = false;
  bool signaled = false;
  bool cut_short = false;  ///< by the deadline or a stop order
};

/// Runs on the calling thread. Everything the outside may learn goes through the outbox; when
/// run() returns, no process of the task is alive and the last event is queued.
///
///   prepare -> (each step: decide -> EXECUTING -> instruction -> CIRRUS_ENV -> result) -> finish
class TaskRun {
 public:
  explicit TaskRun(TaskParts parts);
  ~TaskRun();
  TaskRun(const TaskRun&) = delete;
  TaskRun& operator=(const TaskRun&) = delete;

  void run();
  /// The end of the task's time; the epoch if the run never got that far.
  Monotonic deadline() const { return deadline_; }

 private:
  /// What the step being run has at hand.
  struct Step {
    const wire::Command& command;
    StepLog& log;
    std::string env_file;
    ScriptLimits limits;
  };
  /// A background script that was started.
  struct Background {
    LiveScript script;
    StepLog* log;
  };

  class Clone;

  Status prepare();
  void open_http_cache();
  std::vector<const wire::Command*> selected_commands() const;
  bool should_run(const wire::Command& command) const;
  bool time_is_up() const;
  void run_step(const wire::Command& command);
  StepOutcome run_instruction(Step& step);
  void finish();

  // Instructions.
  StepOutcome run_script(Step& step, const std::vector<std::string>& lines);
  StepOutcome run_direct(Step& step, const std::vector<std::string>& lines);
  StepOutcome start_background(Step& step, const std::vector<std::string>& lines);
  StepOutcome write_file_instruction(Step& step);
  StepOutcome clone(Step& step);
  StepOutcome clone_without_git(Step& step, const model::CloneRequest& request);
  StepOutcome restore_cache(Step& step);
  StepOutcome upload_cache(Step& step);
  StepOutcome store_artifacts(Step& step);
  StepOutcome wait_for_terminal(Step& step);
  /// Reads the stored files as reports and posts what they found.
  Status annotate(Step& step, const rpc::ArtifactSet& set, const StepStop& stop);
  /// Masked, and in pieces that fit a message. Empties the annotations.
  void post_annotations(std::vector<wire::Annotation>& annotations);
  /// The key of a cache; nullopt: the fingerprint script failed, and `outcome` says how.
  std::optional<std::string> cache_key(Step& step, StepOutcome& outcome);
  /// What remains to be said of a step whose time was over.
  StepOutcome cut_short(Step& step);

  /// Runs one process in the foreground, with a line in the log if it cannot start.
  StepOutcome run_process(Step& step, std::vector<std::string> argv, os::Environment environment);
  Result<std::vector<std::string>> script_command(const std::vector<std::string>& lines,
                                                  std::filesystem::path& file);
  ScriptJob job(const Step& step, std::vector<std::string> argv, os::Environment environment);
  os::Environment step_environment(const Step& step) const;
  ScriptLimits limits_for(const wire::Command& command) const;
  std::vector<StepTree> background_trees() const;
  void started();

  StepLog& open_log(const std::string& step);
  void take_env_file(Step& step);
  void use_new_secrets();
  void report(const std::string& step, wire::Status status, Duration took, bool signaled,
              const StepLog* log);
  /// `text` as the text fields of messages have it: masked, and UTF-8.
  std::string as_shown(std::string_view text);
  void report_error(const std::string& message);
  void report_warning(const std::string& message);

  const TaskParts parts_;
  ScriptRunner runner_;
  os::Environment process_;
  std::unique_ptr<TaskEnvironment> environment_;
  std::unique_ptr<Scratch> scratch_;
  model::Secrets secrets_;
  std::string shell_;
  std::filesystem::path working_directory_;
  CacheSteps caches_;
  std::unique_ptr<HttpCache> http_cache_;     // null: given from outside, or it could not be opened
  std::unique_ptr<ResourceMonitor> monitor_;  // null until the first step
  Shells shells_;
  std::list<StepLog> logs_;
  std::list<Background> background_;
  std::vector<wire::CommandResult> history_;
  Monotonic deadline_{};
  bool failed_ = false;
  bool left_ = false;  // by an exit instruction
  bool started_ = false;
};

}  // namespace cirrus::agent
