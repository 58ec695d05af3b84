// SPDX-License-Identifier: MIT
#include "worker/task_run.h"

#include <exception>

#include "base/backoff.h"
#include "base/fail_point.h"
#include "base/log.h"
#include "os/files.h"

namespace cirrus::worker {

namespace {

constexpr auto kCallTime = std::chrono::seconds(30);
// An agent whose final report is on disk has nothing left to do but exit.
constexpr auto kExitTime = std::chrono::seconds(10);

Monotonic in(Duration time) {
  return system_clock().now() + time;
}

// The server's answer will not change by asking again.
bool is_refusal(Code code) {
  switch (code) {
    case Code::InvalidArgument:
    case Code::NotFound:
    case Code::AlreadyExists:
    case Code::PermissionDenied:
    case Code::FailedPrecondition:
    case Code::Aborted:
    case Code::OutOfRange:
    case Code::Unimplemented:
    case Code::Unauthenticated: return true;
    default: return false;
  }
}

// Companions, and images that are yet to be built, cannot stand by.
std::optional<rpc::pb::Isolation> wanted_of(const TaskRecord& record) {
  const bool plain = !record.has_container() && record.isolation().container().dockerfile().empty();
  if (!record.has_isolation() || !plain) return std::nullopt;
  return record.isolation();
}

}  // namespace

TaskRun::TaskRun(std::shared_ptr<const TaskEnvironment> environment,
                 std::shared_ptr<Session> session, TaskRecord record,
                 std::function<void(const std::string& id)> on_end,
                 std::function<void()> on_released)
    : environment_(std::move(environment)),
      session_(std::move(session)),
      id_(record.task_id()),
      resources_(record.resources().begin(), record.resources().end()),
      wanted_(wanted_of(record)),
      on_end_(std::move(on_end)),
      on_released_(std::move(on_released)),
      service_(session_->upstream().task_service(credential_of(record))),
      record_(std::move(record)),
      thread_([this](const StopToken& stop) { run(stop); }) {}

rpc::TaskCredential TaskRun::credential_of(const TaskRecord& record) {
  return {record.task_id(), Secret(record.client_secret()), Secret(record.server_secret())};
}

TaskRun::~TaskRun() {
  thread_.request_stop();
  state_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (gateway_) {
    environment_->gateway->remove(id_);
    gateway_->close();
  }
}

void TaskRun::cancel(const std::string& reason) {
  state_.update([&](State& state) {
    if (state.cancelled) return;
    state.cancelled = reason;
    state.kill_at = in(environment_->cancel_grace);
    state.launch.request_stop();
  });
}

void TaskRun::admit() {
  state_.update([](State& state) { state.admitted = true; });
}

void TaskRun::kill(const std::string& reason) {
  state_.update([&](State& state) {
    if (!state.cancelled) state.cancelled = reason;
    state.kill_at = system_clock().now();
    state.launch.request_stop();
  });
}

gateway::TaskPaths TaskRun::paths() const {
  return {environment_->tasks_directory / directory_name_of_task(id_), record_.run_directory()};
}

void TaskRun::save() {
  const Status saved = save_task_record(paths().directory, record_);
  if (!saved.ok()) log_error("task record not saved", {{"task", id_}, {"error", saved.error()}});
}

void TaskRun::fail(const Error& failure) {
  log_warning("task failed on this worker", {{"task", id_}, {"error", failure}});
  if (record_.failure().empty()) record_.set_failure(failure.to_string());
}

Status TaskRun::persist(const StopToken& stop, const char* what,
                        const std::function<Status(Monotonic deadline)>& call) {
  Backoff backoff(std::chrono::milliseconds(100), std::chrono::seconds(2));
  std::optional<std::uint64_t> refused_in;  // this session
  for (;;) {
    const std::uint64_t session = session_->generation();
    const Status answered = call(in(kCallTime));
    if (answered.ok()) return answered;
    const Code code = answered.error().code();
    // A server that lost its sessions must still hear how the task ended: in a new one. Ours never
    // loses them.
    const bool may_pass = code == Code::Unauthenticated && !session_->server().hold() &&
                          refused_in.value_or(session) == session;
    if (is_refusal(code) && !may_pass) return answered;
    if (may_pass) {
      refused_in = session;
      session_->doubt();
    }
    if (stop.stop_requested()) return error(Code::Cancelled, "detached");
    log_debug("will report again", {{"task", id_}, {"what", what}, {"error", answered.error()}});
    if (!wait_for(stop, backoff.next())) return error(Code::Cancelled, "detached");
  }
}

// The root of this thread: what throws in here is the system out of threads or memory. The task
// fails, the worker goes on.
void TaskRun::run(const StopToken& stop) {
  try {
    run_phases(stop);
  } catch (const std::exception& failure) {
    fail(error(Code::ResourceExhausted, "this worker cannot run the task: {}", failure.what()));
    tear_down();
    report_end(stop);
    if (stop.stop_requested()) return;
    clean_up();
    on_end_(id_);
  }
}

void TaskRun::run_phases(const StopToken& stop) {
  if (record_.phase() == TaskRecord::BOOTSTRAPPED) {
    adopt(stop);
    if (never_began(stop)) {
      start_over();
    } else {
      follow(stop);
      if (stop.stop_requested()) return;
    }
  }
  if (record_.phase() == TaskRecord::ASSIGNED) {
    if (!start(stop)) {
      // Detached: everything stays on disk. Dropped by the server: nothing stays.
      if (stop.stop_requested()) return;
      tear_down();
      flush_notes(stop);
      if (stop.stop_requested()) return;
    } else {
      follow(stop);
      if (stop.stop_requested()) return;
    }
  }
  report_end(stop);
  if (stop.stop_requested()) return;
  clean_up();
  on_end_(id_);
}

void TaskRun::adopt(const StopToken&) {
  isolation::InstanceRecord made;
  made.agent_pid = record_.agent_pid();
  made.agent_start_time = record_.agent_start_time();
  made.cgroup_path = record_.cgroup_path();
  made.working_directory = record_.working_directory();
  made.task_cookie = record_.task_cookie();
  made.handles.insert(record_.handles().begin(), record_.handles().end());
  isolation::Isolation* isolation = environment_->isolation_for(record_.isolation());
  if (isolation != nullptr) {
    Result<std::unique_ptr<isolation::Instance>> adopted = isolation->adopt(made);
    if (adopted.ok()) instance_ = std::move(adopted).value();
  }
  if (const Status opened = open_gateway(); !opened.ok()) fail(opened.error());
  log_info("adopted task", {{"task", id_}, {"pid", record_.agent_pid()}});
}

// An earlier worker died between its decision to hand the task over and the agent's reading it. The
// agent reads or goes at once, so this is over in a moment.
bool TaskRun::never_began(const StopToken& stop) {
  if (!record_.receipt_marked() || !instance_ || !gateway_) return false;
  if (gateway_->progress().attached_once) return false;
  const Monotonic deadline = in(kExitTime);
  while (!instance_->may_have_begun() && system_clock().now() < deadline) {
    // Only the mark of a dead agent is final.
    if (instance_->wait_end(stop, in(std::chrono::milliseconds(20)))) {
      return !instance_->may_have_begun();
    }
    if (stop.stop_requested()) return false;
  }
  return false;
}

void TaskRun::start_over() {
  log_info("task never reached its agent and is started again", {{"task", id_}});
  environment_->gateway->remove(id_);
  gateway_->close();
  gateway_.reset();
  const Status destroyed = instance_->destroy();
  if (!destroyed.ok()) log_error("old agent", {{"task", id_}, {"error", destroyed.error()}});
  instance_.reset();
  record_.set_phase(TaskRecord::ASSIGNED);
}

// Follows the agent to its end and everything it reported to the controller.
void TaskRun::follow(const StopToken& stop) {
  if (!instance_ || !gateway_) {
    tear_down();
    return;
  }
  state_.update([](State& state) { state.agent_alive = true; });
  // A second thread waits for the process, so that this one can wait for everything at once.
  Guarded<bool> ended(false);
  Thread watcher([&](const StopToken& watcher_stop) {
    if (!instance_->wait_end(watcher_stop, std::nullopt)) return;
    ended.update([](bool& value) { value = true; });
    state_.update([](State& state) { state.agent_alive = false; });
  });
  bool cancel_sent = false;
  std::optional<Monotonic> exit_deadline;
  Monotonic give_up_at{std::chrono::milliseconds(record_.give_up_uptime())};
  if (record_.give_up_uptime() == 0) {  // written by an older worker
    const WallTime give_up = from_unix_millis(record_.give_up_at());
    give_up_at = in(std::max<Duration>(give_up - system_clock().wall(), Duration::zero()));
  }
  while (!stop.stop_requested()) {
    const bool gone = ended.with([](const bool& value) { return value; });
    const gateway::TaskProgress progress = gateway_->progress();
    if (gone) break;
    if (progress.fenced) {
      report_ = false;
      cancel("the controller has given the task to somebody else");
    }
    if (progress.finished && !exit_deadline) exit_deadline = in(kExitTime);
    std::optional<std::string> cancelled;
    std::optional<Monotonic> kill_at;
    state_.with([&](State& state) {
      cancelled = state.cancelled;
      kill_at = state.kill_at;
    });
    if (cancelled && !cancel_sent) {
      log_info("sent cancellation signal to task", {{"task", id_}, {"reason", *cancelled}});
      gateway_->cancel(*cancelled);
      if (!progress.attached_once || instance_->guest_paths().reference_agent) {
        instance_->interrupt();
      }
      cancel_sent = true;
    }
    Monotonic next = give_up_at;
    if (kill_at) next = std::min(next, *kill_at);
    if (exit_deadline) next = std::min(next, *exit_deadline);
    if (system_clock().now() >= next) {
      if (!progress.finished) {
        fail(cancelled ? error(Code::Cancelled, "stopped: {}", *cancelled)
                       : error(Code::DeadlineExceeded, "the agent outlived the task's time limit"));
      }
      break;
    }
    // Wakes on a stop order, a kill, the agent's end or the next deadline.
    state_.wait_until(
        stop, std::min(next, in(std::chrono::seconds(5))),
        [&](State& state) {
          return !state.agent_alive || (state.cancelled.has_value() && !cancel_sent) ||
                 (state.kill_at && (!kill_at || *state.kill_at < *kill_at));
        },
        [](State&, bool) {});
  }
  watcher.request_stop();
  watcher.join();
  if (stop.stop_requested()) return;
  crash_point("worker.task.agent-gone");
  const bool finished_before = gateway_->progress().finished;
  const std::string description = instance_->end_description();
  tear_down();
  crash_point("worker.task.torn-down");
  gateway_->agent_gone();
  if (!finished_before && !gateway_->progress().finished) {
    const char* const what =
        gateway_->progress().gave_up ? "the agent gave up" : "agent process exited unexpectedly";
    fail(error(Code::Aborted, "{}{}", what, description.empty() ? "" : " (" + description + ")"));
  }
  (void)gateway_->wait(stop, std::nullopt,
                       [](const gateway::TaskProgress& progress) { return progress.forwarded; });
  if (gateway_->progress().fenced) report_ = false;
  if (stop.stop_requested()) return;
  record_.set_phase(TaskRecord::ENDED);
  save();
  crash_point("worker.task.ended");
}

void TaskRun::tear_down() {
  if (environment_->standby != nullptr) environment_->standby->forget(id_);
  state_.update([](State& state) { state.agent_alive = false; });
  if (instance_) {
    const Status destroyed = instance_->destroy();
    if (!destroyed.ok()) {
      log_error("task not cleaned up", {{"task", id_}, {"error", destroyed.error()}});
    }
  }
  const bool first =
      state_.update([](State& state) { return !std::exchange(state.released, true); });
  if (first) on_released_();
}

void TaskRun::report_end(const StopToken& stop) {
  if (!report_) return;
  const rpc::TaskCredential credential = credential_of(record_);
  if (!record_.failure().empty()) {
    const Status answered = persist(stop, "TaskFailed", [&](Monotonic deadline) {
      return session_->upstream().task_failed(session_->token(), credential, record_.failure(),
                                              stop, deadline);
    });
    if (stop.stop_requested()) return;
    crash_point("worker.task.failure-reported");
    if (!answered.ok()) {
      log_warning("failure not accepted", {{"task", id_}, {"error", answered.error()}});
    }
  }
  const Status answered = persist(stop, "TaskStopped", [&](Monotonic deadline) {
    return session_->upstream().task_stopped(session_->token(), credential, stop, deadline);
  });
  crash_point("worker.task.end-reported");
  if (!answered.ok() && !stop.stop_requested()) {
    log_warning("end not accepted", {{"task", id_}, {"error", answered.error()}});
  }
}

void TaskRun::clean_up() {
  if (gateway_) {
    environment_->gateway->remove(id_);
    gateway_->close();
    gateway_.reset();
  }
  if (!record_.run_directory().empty()) (void)os::remove_tree(record_.run_directory());
  // The record first: what is left of the directory without it is removed by the next worker, and
  // nothing is reported twice.
  std::error_code ignored;
  std::filesystem::remove(paths().record(), ignored);
  crash_point("worker.task.forgotten");
  const Status removed = os::remove_tree(paths().directory);
  if (!removed.ok())
    log_warning("task directory stays", {{"task", id_}, {"error", removed.error()}});
  log_info("task completed", {{"task", id_}});
}

}  // namespace cirrus::worker
