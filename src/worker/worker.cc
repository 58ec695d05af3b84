// SPDX-License-Identifier: MIT
#include "worker/worker.h"

#include <charconv>

#include "base/log.h"
#include "os/cgroup.h"
#include "os/files.h"
#include "os/host.h"

namespace cirrus::worker {

namespace {

// The worker's own business: scripts of a task must not see it. Ours: the reference hands over
// everything.
bool is_private_variable(const std::string& name) {
  for (const char* prefix :
       {"CIRRUS_WORKER_", "CIRRUS_API_", "CIRRUS_CONTROLLER_", "WATCHDOG_", "LISTEN_", "OTEL_"}) {
    if (name.starts_with(prefix)) return true;
  }
  return name == "NOTIFY_SOCKET" || name == "SENTRY_DSN";
}

os::Environment agent_environment() {
  os::Environment environment = os::current_environment();
  for (auto entry = environment.begin(); entry != environment.end();) {
    entry = is_private_variable(entry->first) ? environment.erase(entry) : std::next(entry);
  }
  return environment;
}

// Idle agents of a worker that died have gone with it; their files and groups have not.
void remove_stale_ready_agents(const std::filesystem::path& tasks_directory) {
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(tasks_directory, failure)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(".ready-") || os::FileLock::is_held(entry.path())) continue;
    if (name.ends_with(".lock")) {
      const Result<std::string> group = os::read_file(entry.path(), 4096);
      if (group.ok() && !group.value().empty()) (void)os::Cgroup::at(group.value()).remove();
    }
    std::error_code ignored;
    std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace

Worker::Worker(Settings settings, WorkerParts parts, os::FileLock lock)
    : settings_(std::move(settings)), parts_(std::move(parts)), lock_(std::move(lock)) {}

Result<std::unique_ptr<Worker>> Worker::start(Settings settings, WorkerParts parts) {
  CIRRUS_TRY(os::make_directories(parts.state_directory, 0700));
  CIRRUS_TRY(os::make_directories(parts.run_directory, 0700));
  Result<os::FileLock> lock = os::FileLock::try_acquire(parts.state_directory / "worker.lock");
  if (!lock.ok()) {
    if (lock.error().code() == Code::AlreadyExists) {
      return error(Code::AlreadyExists,
                   "another worker uses the data directory '{}': stop it, or give this one its own "
                   "with --data-dir",
                   parts.state_directory.string());
    }
    return std::move(lock).error();
  }
  std::unique_ptr<Worker> worker(
      new Worker(std::move(settings), std::move(parts), std::move(lock).value()));
  TaskEnvironment& environment = worker->environment_;
  environment.tasks_directory = worker->parts_.state_directory / "tasks";
  environment.run_directory = worker->parts_.run_directory;
  environment.agent_program = worker->parts_.agent_program;
  environment.agent_environment = agent_environment();
  environment.cancel_grace = worker->settings_.cancel_grace;
  environment.gateway = worker->parts_.gateway;
  environment.isolation_for = [none = worker->parts_.none](const rpc::pb::Isolation& isolation) {
    const bool is_none = isolation.type_case() == rpc::pb::Isolation::TYPE_NOT_SET ||
                         isolation.type_case() == rpc::pb::Isolation::kNone;
    return is_none ? none : nullptr;
  };
  CIRRUS_TRY(os::make_directories(environment.tasks_directory));
  CIRRUS_TRY(worker->open_sessions());
  worker->adopt_all();
  for (const std::shared_ptr<Session>& session : worker->sessions_) {
    worker->loops_.push_back(std::make_unique<UpstreamLoop>(session, *worker));
  }
  worker->heartbeat_ =
      Thread([raw = worker.get()](const StopToken& stop) { raw->heartbeat_loop(stop); });
  return worker;
}

Worker::~Worker() {
  for (const auto& loop : loops_) loop->request_stop();
  loops_.clear();
  heartbeat_.request_stop();
  if (heartbeat_.joinable()) heartbeat_.join();
  State last = state_.with([](State& state) { return std::move(state); });
  for (const auto& [id, task] : last.tasks) task->request_detach();
}

Status Worker::open_sessions() {
  const std::string instance = CIRRUS_TRY(load_instance_id(parts_.state_directory));
  for (const UpstreamSettings& upstream : settings_.upstreams) {
    sessions_.push_back(std::make_shared<Session>(CIRRUS_TRY(parts_.connect(upstream, instance))));
  }
  return {};
}

// Before the first registration: an id that is missing from a poll counts as lost.
void Worker::adopt_all() {
  remove_stale_ready_agents(environment_.tasks_directory);
  std::error_code failure;
  for (const auto& entry :
       std::filesystem::directory_iterator(environment_.tasks_directory, failure)) {
    if (!entry.is_directory()) continue;
    Result<TaskRecord> record = load_task_record(entry.path());
    if (!record.ok()) {
      log_warning("task directory left alone",
                  {{"path", entry.path().string()}, {"error", record.error()}});
      continue;
    }
    std::shared_ptr<Session> owner;
    for (const std::shared_ptr<Session>& session : sessions_) {
      if (session->endpoint() == record.value().upstream_endpoint()) owner = session;
    }
    if (!owner) {
      log_warning(
          "task of an unknown upstream left alone",
          {{"task", record.value().task_id()}, {"upstream", record.value().upstream_endpoint()}});
      continue;
    }
    run_task(owner, std::move(record).value());
  }
}

rpc::pb::WorkerInfo Worker::worker_info() const {
  rpc::pb::WorkerInfo info;
  auto& labels = *info.mutable_labels();
  labels["name"] = settings_.name;
  labels["version"] = parts_.version;
  labels["hostname"] = os::host_name();
  labels["os"] = os::os_name();
  labels["arch"] = os::arch_name();
  // The owner may override the reserved ones. Source: reference worker, merge and validation.
  for (const auto& [key, value] : settings_.labels) labels[key] = value;
  for (const auto& [key, value] : settings_.resources) {
    (*info.mutable_resources_total())[key] = value;
  }
  return info;
}

rpc::pb::PollRequest Worker::make_poll(const Session& session) {
  rpc::pb::PollRequest request;
  *request.mutable_worker_info() = worker_info();
  state_.with([&](State& state) {
    for (const auto& [id, task] : state.tasks) {
      // In use: all upstreams; running: only this one's. Source: protocol, normal sequence 3.
      for (const auto& [name, amount] : task->resources()) {
        (*request.mutable_resources_in_use())[name] += amount;
      }
      if (task->upstream_endpoint() != session.endpoint()) continue;
      request.add_running_tasks(id);
      std::int64_t number = 0;
      const auto parsed = std::from_chars(id.data(), id.data() + id.size(), number);
      if (parsed.ec == std::errc() && parsed.ptr == id.data() + id.size()) {
        request.add_old_running_tasks(number);
      }
    }
  });
  return request;
}

void Worker::on_reply(const std::shared_ptr<Session>& session, const rpc::pb::PollResponse& reply) {
  std::vector<std::string> stops(reply.tasks_to_stop().begin(), reply.tasks_to_stop().end());
  for (const std::int64_t id : reply.old_task_ids_to_stop()) stops.push_back(std::to_string(id));
  for (const std::string& id : stops) {
    const std::shared_ptr<TaskRun> task = state_.with([&](State& state) {
      const auto found = state.tasks.find(id);
      return found == state.tasks.end() ? nullptr : found->second;
    });
    if (task) task->cancel("stopped by the controller");
  }
  for (const auto& task : reply.tasks_to_start()) start_task(session, task);
  if (reply.shutdown()) {
    log_info("received shutdown signal", {{"upstream", session->endpoint()}});
    state_.update([](State& state) {
      if (!state.end) state.end = WorkerEnd{WorkerEnd::Kind::ShutDown, "told to by the server"};
    });
  }
}

void Worker::start_task(const std::shared_ptr<Session>& session,
                        const rpc::pb::PollResponse::AgentAwareTask& task) {
  TaskRecord record;
  record.set_version(kTaskRecordVersion);
  record.set_task_id(task.task_id().empty() ? std::to_string(task.old_task_id()) : task.task_id());
  record.set_upstream_endpoint(session->endpoint());
  record.set_client_secret(task.client_secret());
  record.set_server_secret(task.server_secret());
  *record.mutable_resources() = task.resources_to_use();
  if (task.has_isolation()) *record.mutable_isolation() = task.isolation();
  if (task.has_cirrus_commands()) *record.mutable_commands() = task.cirrus_commands();
  if (state_.with([&](State& state) { return state.tasks.contains(record.task_id()); })) {
    log_warning("task is here already", {{"task", record.task_id()}});
    return;
  }
  const Status allowed =
      settings_.security.check(task.has_isolation() ? &task.isolation() : nullptr);
  if (!allowed.ok()) {
    log_warning("task refused", {{"task", record.task_id()}, {"error", allowed.error()}});
    record.set_failure(allowed.error().to_string());
    record.set_phase(TaskRecord::ENDED);  // nothing was started: only report
  }
  run_task(session, std::move(record));
}

void Worker::run_task(const std::shared_ptr<Session>& session, TaskRecord record) {
  // The task's thread may end before it is in the table; task_ended waits for the table.
  state_.update([&](State& state) {
    const std::string id = record.task_id();
    state.tasks[id] =
        std::make_shared<TaskRun>(environment_, session, std::move(record),
                                  [this](const std::string& ended) { task_ended(ended); });
    if (state.cancelled) state.tasks[id]->cancel("the worker is stopping");
  });
}

void Worker::task_ended(const std::string& id) {
  std::string endpoint;
  state_.update([&](State& state) {
    const auto found = state.tasks.find(id);
    if (found == state.tasks.end()) return;
    endpoint = found->second->upstream_endpoint();
    state.finished.push_back(std::move(found->second));
    state.tasks.erase(found);
    if (state.draining && state.tasks.empty() && !state.end) {
      state.end = WorkerEnd{WorkerEnd::Kind::Drained, "the last task has ended"};
    }
  });
  for (const auto& loop : loops_) {
    if (loop->session()->endpoint() == endpoint) loop->poll_soon();
  }
}

void Worker::on_refused(const Session& session, const Error& reason) {
  state_.update([&](State& state) {
    state.refused[session.endpoint()] = reason.message();
    // One upstream that takes us is enough to go on.
    if (state.refused.size() == sessions_.size() && state.tasks.empty() && !state.end) {
      state.end = WorkerEnd{WorkerEnd::Kind::Refused, reason.message()};
    }
  });
}

std::size_t Worker::running() const {
  return state_.with([](const State& state) { return state.tasks.size(); });
}

WorkerEnd Worker::wait() {
  for (;;) {
    std::vector<std::shared_ptr<TaskRun>> finished;
    const std::optional<WorkerEnd> end = state_.wait(
        StopToken(), [](State& state) { return state.end.has_value() || !state.finished.empty(); },
        [&](State& state, bool) {
          finished = std::exchange(state.finished, {});
          return state.end;
        });
    finished.clear();  // joins their threads, outside the lock
    if (end) return *end;
  }
}

void Worker::drain() {
  for (const auto& loop : loops_) loop->drain();
  state_.update([](State& state) {
    state.draining = true;
    if (state.tasks.empty() && !state.end) {
      state.end = WorkerEnd{WorkerEnd::Kind::Drained, "no task was running"};
    }
  });
}

void Worker::cancel_all() {
  drain();
  std::vector<std::shared_ptr<TaskRun>> tasks;
  const bool again = state_.with([&](State& state) {
    for (const auto& [id, task] : state.tasks) tasks.push_back(task);
    return std::exchange(state.cancelled, true);
  });
  for (const std::shared_ptr<TaskRun>& task : tasks) {
    if (again) {
      task->kill("the worker is stopping");
    } else {
      task->cancel("the worker is stopping");
    }
  }
}

void Worker::detach() {
  state_.update([](State& state) {
    if (!state.end) state.end = WorkerEnd{WorkerEnd::Kind::Detached, "agents go on"};
  });
}

// One thread for all tasks, so that a task that starves its own threads is still heard of.
void Worker::heartbeat_loop(const StopToken& stop) {
  // Source: reference agent, heartbeat period.
  constexpr auto kPeriod = std::chrono::seconds(60);
  while (wait_for(stop, kPeriod)) {
    std::vector<std::shared_ptr<TaskRun>> tasks;
    state_.with([&](State& state) {
      for (const auto& [id, task] : state.tasks) tasks.push_back(task);
    });
    for (const std::shared_ptr<TaskRun>& task : tasks) {
      if (!task->agent_alive()) continue;
      const Status beat =
          task->service().heartbeat(stop, system_clock().now() + std::chrono::seconds(10));
      if (!beat.ok()) {
        log_debug("heartbeat not heard", {{"task", task->id()}, {"error", beat.error()}});
      }
    }
  }
}

}  // namespace cirrus::worker
