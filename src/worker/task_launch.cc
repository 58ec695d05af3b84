// SPDX-License-Identifier: MIT
// TaskRun: from the assignment to the moment when the agent knows its task.
#include <sys/stat.h>

#include <cerrno>

#include "base/fail_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "model/secrets.h"
#include "os/files.h"
#include "os/reach.h"
#include "worker/task_run.h"

namespace cirrus::worker {

namespace {

// Ours (design 3.3): beyond the task's own timeout and the extension for `always` steps.
constexpr auto kGiveUpAfterTimeout = std::chrono::minutes(15);

Monotonic in(Duration time) {
  return system_clock().now() + time;
}

// The monotonic clock counts from the start of the machine, so another process of ours can read it.
std::int64_t uptime_millis(Monotonic time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

std::string masked(std::string_view text, const rpc::pb::CommandsResponse& commands) {
  model::Masker masker =
      model::masker_for({commands.secrets_to_mask().begin(), commands.secrets_to_mask().end()});
  std::string out;
  masker.feed(text, out);
  masker.finish(out);
  return out;
}

}  // namespace

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
  offer_mirror(guest.shares_machine);
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
  const std::optional<os::User>& user = environment_->task_user;
  if (guest.shares_machine && user && !os::may_enter(user->home, *user)) {
    // Ours: `nobody` has no home, and much that scripts run wants to write there.
    (*bootstrap.mutable_process_environment())["HOME"] = guest.scratch_directory;
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

void TaskRun::offer_mirror(bool shares_machine) {
  if (!environment_->gateway->has_mirrors()) return;
  if (shares_machine && !environment_->mirror_without_isolation) return;
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

}  // namespace cirrus::worker
