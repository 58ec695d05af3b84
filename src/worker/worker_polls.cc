// SPDX-License-Identifier: MIT
// What a worker says to its upstreams, and what it does about their answers.
#include <charconv>

#include "base/fail_point.h"
#include "base/log.h"
#include "os/files.h"
#include "os/host.h"
#include "worker/worker.h"

namespace cirrus::worker {

rpc::pb::WorkerInfo Worker::worker_info() const {
  const std::shared_ptr<const Settings> current = settings();
  rpc::pb::WorkerInfo info;
  auto& labels = *info.mutable_labels();
  labels["name"] = current->name;
  labels["version"] = parts_.version;
  labels["hostname"] = os::host_name();
  labels["os"] = os::os_name();
  labels["arch"] = os::arch_name();
  if (parts_.has_container_engine && current->security.container() != nullptr) {
    labels["cirrus.containers"] = "true";
  }
  // The owner may override the reserved ones. Source: reference worker, merge and validation.
  for (const auto& [key, value] : current->labels) labels[key] = value;
  for (const auto& [key, value] : current->resources) {
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
      if (!task->released()) {
        for (const auto& [name, amount] : task->resources()) {
          (*request.mutable_resources_in_use())[name] += amount;
        }
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
  for (Standby::Information& one : standby_->information()) {
    *request.add_available_standby_instances_information() = std::move(one);
  }
  return request;
}

std::map<std::string, bool> Worker::ask_paused(Duration patience, const StopToken& stop) const {
  std::map<std::string, bool> paused;
  for (const auto& loop : loops_) {
    const UpstreamFacts facts = loop->facts();
    if (!facts.registered || !facts.failure.empty()) continue;
    const std::shared_ptr<Session>& session = loop->session();
    const Result<rpc::RunningTasks> known =
        session->upstream().running_tasks(stop, system_clock().now() + patience);
    if (known.ok()) paused[session->endpoint()] = known.value().disabled;
  }
  return paused;
}

bool Worker::wants_tasks() {
  const std::shared_ptr<const TaskEnvironment> current = environment();
  if (current->min_free_space == 0) return true;
  const Result<std::uint64_t> left = os::free_space(current->tasks_directory);
  const bool low = left.ok() && left.value() < current->min_free_space;
  const bool changed =
      state_.with([&](State& state) { return std::exchange(state.low_on_space, low) != low; });
  if (changed && low) {
    log_warning("no new tasks: free disk space is below min-free-space",
                {{"free", left.value()}, {"min-free-space", current->min_free_space}});
  }
  if (changed && !low) log_info("new tasks again: there is free disk space");
  return !low;
}

void Worker::carry_shells(const std::shared_ptr<Session>& session) {
  if (!session->server().has("shells")) return;
  const bool missing = shells_.with([&](auto& shells) { return !shells.contains(session.get()); });
  if (!missing) return;
  std::unique_ptr<rpc::ShellLink> link =
      session->upstream().shells([session] { return session->token(); });
  if (!link) return;
  const auto owns = [this, raw = session.get()](const std::string& id) {
    return state_.with([&](State& state) {
      const auto found = state.tasks.find(id);
      return found != state.tasks.end() && found->second->upstream_endpoint() == raw->endpoint();
    });
  };
  // Each upstream has one thread that comes here, so nobody else has made one meanwhile.
  auto carrier = std::make_unique<ShellCarrier>(std::move(link), parts_.gateway->shells(), owns);
  shells_.with([&](auto& shells) { shells.emplace(session.get(), std::move(carrier)); });
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
  standby_->update(reply.updated_standby_instances());
  carry_shells(session);
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
  record.set_assigned_at(to_unix_millis(system_clock().wall()));
  record.set_traceparent(task.traceparent());
  record.set_tracestate(task.tracestate());
  if (task.has_isolation()) *record.mutable_isolation() = task.isolation();
  if (task.has_cirrus_container()) *record.mutable_container() = task.cirrus_container();
  if (task.has_cirrus_commands()) *record.mutable_commands() = task.cirrus_commands();
  if (state_.with([&](State& state) { return state.tasks.contains(record.task_id()); })) {
    log_warning("task is here already", {{"task", record.task_id()}});
    return;
  }
  // The last poll does not list it, so it is given to another worker.
  if (state_.with([](State& state) { return state.end.has_value(); })) {
    log_info("task left to another worker: this one ends", {{"task", record.task_id()}});
    return;
  }
  const std::shared_ptr<const Settings> current = settings();
  const std::uint64_t limit = current->life.max_tasks;
  if (limit > 0 && state_.with([](State& state) { return state.started; }) >= limit) {
    log_info("task left to another worker: this one has had its share",
             {{"task", record.task_id()}, {"max-tasks", limit}});
    // Our controller sees that it never runs here and gives it away again; the reference's has to
    // be told.
    if (session->server().hold()) return;
    record.set_failure("this worker takes no more tasks");
    record.set_phase(TaskRecord::ENDED);
  }
  Status allowed = current->security.check(task.has_isolation() ? &task.isolation() : nullptr);
  if (allowed.ok() && task.has_cirrus_container()) {
    allowed = current->security.check_container(task.cirrus_container());
  }
  if (!allowed.ok()) {
    log_warning("task refused", {{"task", record.task_id()}, {"error", allowed.error()}});
    record.set_failure(allowed.error().to_string());
    record.set_phase(TaskRecord::ENDED);  // nothing was started: only report
  }
  crash_point("worker.task.assigned");
  run_task(session, std::move(record));
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

}  // namespace cirrus::worker
