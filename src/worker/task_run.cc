// SPDX-License-Identifier: MIT
#include "worker/task_run.h"

#include <sys/stat.h>

#include <cerrno>
#include <exception>

#include "base/backoff.h"
#include "base/fail_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "model/secrets.h"
#include "os/file_lock.h"
#include "os/files.h"

namespace cirrus::worker {

namespace {

constexpr auto kCallTime = std::chrono::seconds(30);
// An agent whose final report is on disk has nothing left to do but exit.
constexpr auto kExitTime = std::chrono::seconds(10);
// Ours (design 3.3): beyond the task's own timeout and the extension for `always` steps.
constexpr auto kGiveUpAfterTimeout = std::chrono::minutes(15);

Monotonic in(Duration time) {
  return system_clock().now() + time;
}

// The monotonic clock counts from the start of the machine, so another process of ours can read it.
std::int64_t uptime_millis(Monotonic time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
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

std::string masked(std::string_view text, const rpc::pb::CommandsResponse& commands) {
  model::Masker masker =
      model::masker_for({commands.secrets_to_mask().begin(), commands.secrets_to_mask().end()});
  std::string out;
  masker.feed(text, out);
  masker.finish(out);
  return out;
}

// Companions, and images that are yet to be built, cannot stand by.
std::optional<rpc::pb::Isolation> wanted_of(const TaskRecord& record) {
  const bool plain = !record.has_container() && record.isolation().container().dockerfile().empty();
  if (!record.has_isolation() || !plain) return std::nullopt;
  return record.isolation();
}

rpc::TaskCredential credential_of(const TaskRecord& record) {
  return {record.task_id(), Secret(record.client_secret()), Secret(record.server_secret())};
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

bool TaskRun::start(const StopToken& stop) {
  if (!wait_for_admission(stop)) return false;
  log_info("started task", {{"task", id_}, {"upstream", session_->endpoint()}});
  isolation::Isolation* isolation = environment_->isolation_for(record_.isolation());
  const bool overlap = isolation == nullptr || isolation->launches_at_once();
  const bool launched = overlap ? launch(stop) && announce(stop) : announce(stop) && launch(stop);
  return launched && hand_over(stop);
}

// Another upstream may have given away the same resources at the same time.
bool TaskRun::wait_for_admission(const StopToken& stop) {
  const bool admitted = state_.wait(
      stop, [](State& state) { return state.admitted || state.cancelled.has_value(); },
      [](State& state, bool) { return state.admitted; });
  if (admitted) return true;
  if (!stop.stop_requested()) fail(error(Code::Cancelled, "stopped before it was started"));
  return false;
}

// Launches the agent. It waits for its bootstrap, so nothing of the task runs yet.
bool TaskRun::launch(const StopToken& stop) {
  const Status launched = [&]() -> Status {
    std::optional<StandbySlot> standby;
    if (environment_->standby != nullptr) standby = environment_->standby->claim(id_);
    // From here it is this task's, whatever happens.
    if (standby) {
      instance_ = std::move(standby->instance);
      record_.set_run_directory(standby->run_directory.string());
      log_info("standby instance taken", {{"task", id_}, {"name", standby->name}});
    } else {
      // What an earlier worker made before it died is nobody's now.
      if (!record_.run_directory().empty()) {
        CIRRUS_TRY(os::remove_tree(record_.run_directory()));
      }
      // A new one each time: the short name keeps the socket's path below its limit.
      record_.set_run_directory((environment_->run_directory / random_hex(5)).string());
    }
    CIRRUS_TRY(os::make_directories(paths().directory));
    record_.set_version(kTaskRecordVersion);
    record_.set_agent_secret(random_hex(32));
    record_.set_gateway_secret(random_hex(32));
    // A second start keeps the cookie: by it the isolation knows what the first one had made.
    if (standby || record_.task_cookie().empty()) {
      record_.set_task_cookie(standby ? standby->task_cookie : random_hex(16));
    }
    // A task of an earlier worker may start again before this one has registered: what that one
    // knew of the server still holds.
    if (session_->generation() > 0) record_.set_log_offsets(session_->server().log_offsets());
    isolation::Isolation* isolation = environment_->isolation_for(record_.isolation());
    if (isolation == nullptr) {
      return error(Code::Unimplemented, "this worker has no isolation of the kind the task wants");
    }
    if (environment_->min_free_space > 0) {
      const std::uint64_t left = CIRRUS_TRY(os::free_space(paths().directory));
      if (left < environment_->min_free_space) {
        return error(Code::ResourceExhausted,
                     "this worker has {} MiB of free disk space left and its 'min-free-space' is "
                     "{} MiB: free some, or lower the setting",
                     left >> 20U, environment_->min_free_space >> 20U);
      }
    }
    if (instance_) remember_instance();
    CIRRUS_TRY(save_task_record(paths().directory, record_));
    crash_point("worker.task.recorded");
    // Before the launch: an isolation may want to mount the socket's directory.
    CIRRUS_TRY(open_gateway());
    if (instance_) return {};
    // Its name is random: whoever is not told it cannot pass through.
    if (environment_->task_user && ::chmod(record_.run_directory().c_str(), 0711) != 0) {
      return errno_error(errno, "cannot open '{}' to the task's user", record_.run_directory());
    }
    isolation::LaunchRequest request;
    request.task_id = id_;
    request.spec = environment_->security.enforced(record_.isolation());
    request.resources = resources_;
    request.softnet_allow = environment_->security.softnet_allow();
    request.gateway_socket = paths().socket();
    request.guest_directory = paths().guest();
    request.scratch_directory = paths().scratch();
    request.user = environment_->task_user;
    request.agent_program = environment_->agent_program;
    request.lock_file = paths().lock();
    request.agent_log = paths().agent_log();
    request.environment = environment_->agent_environment;
    request.task_cookie = record_.task_cookie();
    request.variables.insert(record_.commands().environment().begin(),
                             record_.commands().environment().end());
    if (record_.has_container()) request.container_instance = record_.container();
    request.notice = [this](std::string_view line) { note(line); };
    // A pull or a boot ends on a stop order as well as on a detach.
    StopSource ended;
    const StopCallback on_detach(stop, [&ended] { ended.request_stop(); });
    const StopToken ordered = state_.with([](State& state) { return state.launch.get_token(); });
    const StopCallback on_order(ordered, [&ended] { ended.request_stop(); });
    instance_ = CIRRUS_TRY(isolation->launch(request, ended.get_token()));
    remember_instance();
    crash_point("worker.task.launched");
    return {};
  }();
  if (launched.ok()) return true;
  fail(launched.error());
  return false;
}

void TaskRun::remember_instance() {
  const isolation::InstanceRecord& made = instance_->record();
  // Those of an earlier try are not this instance's.
  record_.clear_handles();
  record_.mutable_handles()->insert(made.handles.begin(), made.handles.end());
  record_.set_agent_pid(made.agent_pid);
  record_.set_agent_start_time(made.agent_start_time);
  record_.set_cgroup_path(made.cgroup_path);
  record_.set_working_directory(made.working_directory);
}

void TaskRun::note(std::string_view line) {
  notes_ += std::string(line) + "\n";
  write_notes();
}

void TaskRun::write_notes() {
  if (notes_.empty() || !gateway_ || record_.commands().commands().empty()) return;
  const Status written = gateway_->write_ahead(record_.commands().commands(0).name(),
                                               masked(notes_, record_.commands()));
  if (!written.ok()) {
    log_warning("notes not in the task's log", {{"task", id_}, {"error", written.error()}});
  }
  notes_.clear();
}

void TaskRun::flush_notes(const StopToken& stop) {
  if (!gateway_ || !report_) return;
  gateway_->agent_gone();
  (void)gateway_->wait(stop, std::nullopt,
                       [](const gateway::TaskProgress& progress) { return progress.forwarded; });
  if (gateway_->progress().fenced) report_ = false;
}

Status TaskRun::open_gateway() {
  gateway::TaskGatewayOptions options;
  options.task_id = id_;
  options.paths = paths();
  options.agent_secret = Secret(record_.agent_secret());
  options.gateway_secret = Secret(record_.gateway_secret());
  options.log_offsets = record_.log_offsets();
  gateway_ = CIRRUS_TRY(gateway::TaskGateway::open(std::move(options), *service_));
  gateway_->allow_repository(record_.clone_url());
  gateway_->allow_vault(record_.vault_url());
  return environment_->gateway->add(gateway_);
}

bool TaskRun::announce(const StopToken& stop) {
  const Status answered = persist(stop, "TaskStarted", [&](Monotonic deadline) {
    return session_->upstream().task_started(session_->token(), credential_of(record_), stop,
                                             deadline);
  });
  crash_point("worker.task.announced");
  if (answered.ok()) return true;
  if (stop.stop_requested()) return false;
  // The server's veto: it has given the task to somebody else, or it is over.
  log_warning("task dropped by the controller", {{"task", id_}, {"error", answered.error()}});
  report_ = false;
  return false;
}

bool TaskRun::hand_over(const StopToken& stop) {
  if (!record_.has_commands()) {
    rpc::pb::InitialCommandsRequest request;
    request.set_local_timestamp(to_unix_millis(system_clock().wall()) / 1000);
    Status fetched = persist(stop, "InitialCommands", [&](Monotonic deadline) -> Status {
      *record_.mutable_commands() = CIRRUS_TRY(service_->initial_commands(request, stop, deadline));
      return {};
    });
    if (!fetched.ok()) {
      if (!stop.stop_requested()) fail(std::move(fetched).note("fetching the commands").error());
      return false;
    }
  }
  if (!Secret(record_.server_secret()).matches(record_.commands().servertoken())) {
    fail(error(Code::Unauthenticated,
               "the server that sent the commands is not the one that scheduled the task"));
    return false;
  }
  const Status allowed = environment_->security.check_task(
      {record_.commands().environment().begin(), record_.commands().environment().end()},
      std::chrono::seconds(record_.commands().timeout_in_seconds()));
  if (!allowed.ok()) {
    fail(allowed.error());
    return false;
  }
  const isolation::GuestPaths guest = instance_->guest_paths();
  gateway::gw::Bootstrap bootstrap;
  bootstrap.set_task_id(id_);
  bootstrap.set_gateway_path(guest.gateway_socket);
  bootstrap.set_agent_secret(record_.agent_secret());
  bootstrap.set_gateway_secret(record_.gateway_secret());
  *bootstrap.mutable_commands() = record_.commands();
  bootstrap.mutable_commands()->clear_servertoken();
  bootstrap.set_pre_created_working_dir(guest.working_directory);
  bootstrap.set_scratch_directory(guest.scratch_directory);
  bootstrap.set_shares_machine(guest.shares_machine);
  offer_mirror();
  offer_vault(guest.shares_machine);
  bootstrap.set_git_mirror(!record_.clone_url().empty());
  bootstrap.set_task_cookie(record_.task_cookie());
  bootstrap.set_kill_grace_milliseconds(3000);
  bootstrap.set_cgroup_path(record_.cgroup_path());
  // Source: protocol, tracing; the reference does so for Tart alone.
  if (!record_.traceparent().empty()) {
    (*bootstrap.mutable_process_environment())["TRACEPARENT"] = record_.traceparent();
    if (!record_.tracestate().empty()) {
      (*bootstrap.mutable_process_environment())["TRACESTATE"] = record_.tracestate();
    }
  }
  bootstrap.set_mark_receipt(instance_->marks_receipt());
  record_.set_receipt_marked(instance_->marks_receipt());
  write_notes();
  for (gateway::gw::LogPosition& position : gateway_->log_positions()) {
    *bootstrap.add_log_positions() = std::move(position);
  }
  if (guest.reference_agent) {
    if (const Status served = gateway_->serve_reference_agent(bootstrap); !served.ok()) {
      fail(served.error());
      return false;
    }
  }
  const std::int64_t timeout = std::max<std::int64_t>(record_.commands().timeout_in_seconds(), 1);
  const Duration patience = std::chrono::seconds(timeout) + kGiveUpAfterTimeout;
  record_.set_give_up_at(to_unix_millis(system_clock().wall() + patience));
  record_.set_give_up_uptime(uptime_millis(in(patience)));
  // From here the agent may know what to do, so it must never be started a second time.
  record_.clear_commands();
  record_.set_phase(TaskRecord::BOOTSTRAPPED);
  if (const Status saved = save_task_record(paths().directory, record_); !saved.ok()) {
    fail(saved.error());
    return false;
  }
  crash_point("worker.task.handing-over");
  Status sent = instance_->send_bootstrap(bootstrap.SerializeAsString());
  crash_point("worker.task.handed-over");
  if (sent.ok()) return true;
  // The agent died while it waited.
  fail(sent.error());
  return false;
}

void TaskRun::offer_mirror() {
  if (!environment_->gateway->has_mirrors()) return;
  const auto& variables = record_.commands().environment();
  const Result<model::CloneRequest> request =
      model::read_clone_request([&variables](std::string_view name) {
        const auto found = variables.find(std::string(name));
        return found == variables.end() ? std::optional<std::string>()
                                        : std::optional(found->second);
      });
  // What cannot be cloned at all the agent says, if the task wants to clone.
  if (!request.ok() || !gateway::GitMirrors::takes(request.value().url.clean)) return;
  record_.set_clone_url(request.value().url.clean);
  gateway_->allow_repository(record_.clone_url());
}

void TaskRun::offer_vault(bool shares_machine) {
  const auto& variables = record_.commands().environment();
  const auto found = variables.find("CIRRUS_VAULT_URL");
  if (found == variables.end()) return;
  std::string url = found->second;
  while (url.ends_with('/')) url.pop_back();
  const std::size_t scheme = url.find("://");
  if (!url.starts_with("http://") && !url.starts_with("https://")) return;
  const std::string_view host = std::string_view(url).substr(scheme + 3);
  // This machine's own services are not those of a task that is kept apart from it.
  for (const char* local : {"localhost", "127.", "[::1]", "0.", "[::]", "169.254."}) {
    if (!shares_machine && host.starts_with(local)) return;
  }
  record_.set_vault_url(url);
  gateway_->allow_vault(url);
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
    fail(error(Code::Aborted, "agent process exited unexpectedly{}",
               description.empty() ? "" : " (" + description + ")"));
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
