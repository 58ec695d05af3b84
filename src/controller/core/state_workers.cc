// SPDX-License-Identifier: MIT
// What workers ask, and what their lists of running tasks say.
#include <algorithm>

#include "base/log.h"
#include "controller/core/state.h"
#include "model/safe_name.h"

namespace cirrus::controller::core {

Result<State::WorkerKey> State::identify(const WorkerCredential& credential, Moment moment) {
  const Result<SessionClaims> claims = read_session_token(session_key_, credential.session_token);
  if (claims.ok()) {
    const auto minted_by = registration_tokens_.find(claims.value().registration_token_id);
    if (minted_by == registration_tokens_.end() || minted_by->second.revoked_ms != 0) {
      return refuse_credential(
          credential.peer,
          error(Code::Unauthenticated, "the registration token of this session was revoked"),
          moment);
    }
    if (claims.value().worker == credential.name) {
      return WorkerKey(claims.value().pool, claims.value().worker);
    }
  }
  // A session of another server or life, or of a worker whose `name` label is not its name. A
  // reference worker never registers again, so whoever holds the pool's token is adopted.
  const PoolToken token =
      CIRRUS_TRY(check_registration_token(credential.registration_token, credential.peer, moment));
  if (claims.ok() && !credential.instance.empty()) {
    audit_misuse("worker " + claims.value().worker, "worker.name.forged", credential.name, moment);
    return error(Code::PermissionDenied, "this session belongs to worker '{:.128}'",
                 claims.value().worker);
  }
  CIRRUS_TRY(model::check_worker_name(credential.name));
  CIRRUS_TRY(check_worker_scope(token.id, credential.name));
  return WorkerKey(token.pool, credential.name);
}

State::Worker& State::worker_at(const WorkerKey& key, Moment moment) {
  const auto [found, added] = workers_.try_emplace(key);
  Worker& worker = found->second;
  if (added) {
    worker.record.pool = key.first;
    worker.record.name = key.second;
    worker.record.first_seen_ms = moment.millis();
    worker.index = next_worker_index_++;
    worker_by_index_[worker.index] = &worker;
    changes_.workers.push_back(worker.record);
    publish(worker);
  }
  return worker;
}

Status State::claim_name(Worker& worker, const std::string& instance, Moment moment) {
  if (worker.record.instance == instance) {
    worker.conflict.clear();
    return {};
  }
  const bool alive =
      worker.polled && moment.now - worker.last_poll < options_.timing.instance_lease;
  // After our own restart nobody has polled yet: an instance with tasks keeps its name a while.
  const bool expected = !worker.polled && !worker.held.empty() &&
                        moment.now - started_ < options_.timing.instance_lease;
  if ((alive || expected) && !instance.empty() && !worker.record.instance.empty()) {
    worker.conflict = "another machine tries to use this name";
    return error(Code::AlreadyExists,
                 "a worker named '{}' is connected from another machine: give this one another "
                 "name with --name, or stop the other one and try again in a minute",
                 worker.record.name);
  }
  if (alive && worker.record.instance != instance) {
    worker.conflict = "two machines poll under this name";
  }
  worker.record.instance = instance;
  changes_.workers.push_back(worker.record);
  return {};
}

bool State::overtaken(const Worker& worker, const std::string& instance, std::uint64_t number) {
  return number != 0 && worker.numbered == instance && number < worker.last_number;
}

void State::refresh_facts(Worker& worker, const model::Labels& labels,
                          const model::Resources& resources) {
  if (worker.record.labels == labels && worker.record.resources == resources) return;
  worker.record.labels = labels;
  worker.record.resources = resources;
  changes_.workers.push_back(worker.record);
  publish(worker);
}

void State::publish(Worker& worker) {
  const auto pool = pools_.find(worker.record.pool);
  scheduler::WorkerOffer offer;
  offer.name = worker.record.name;
  offer.labels = worker.record.labels;
  offer.resources = worker.record.resources;
  offer.accepts = worker.parked.has_value();
  offer.disabled = worker.record.disabled;
  offer.silent = worker.silent || !worker.polled;
  offer.draining = worker.draining;
  if (pool != pools_.end()) {
    offer.pool_paused = pool->second.paused;
    offer.untrusted = pool->second.untrusted_isolations;
  }
  offer.pool = worker.record.pool;
  scheduler_.set_worker(worker.index, std::move(offer));
}

void State::register_worker(const RegisterCall& call, Reply<std::string> reply, Moment moment) {
  const Result<PoolToken> token =
      check_registration_token(call.registration_token, call.peer, moment);
  if (!token.ok()) return answer<std::string>(std::move(reply), token.error());
  Status name = model::check_worker_name(call.name);
  if (name.ok()) name = check_worker_scope(token.value().id, call.name);
  if (!name.ok()) return answer<std::string>(std::move(reply), name.error());
  const Status amounts = model::check_resources(call.resources);
  if (!amounts.ok()) return answer<std::string>(std::move(reply), amounts.error());

  Worker& worker = worker_at({token.value().pool, call.name}, moment);
  // One that comes late is answered, and changes nothing.
  if (!overtaken(worker, call.instance, call.number)) {
    const Status claimed = claim_name(worker, call.instance, moment);
    if (!claimed.ok()) return answer<std::string>(std::move(reply), claimed.error());
    worker.numbered = call.instance;
    worker.last_number = call.number;
    if (worker.parked) answer_poll(worker, {});
    refresh_facts(worker, call.labels, call.resources);
    log_info("worker registered", {{"pool", worker.record.pool}, {"worker", worker.record.name}});
  }
  answer<std::string>(
      std::move(reply),
      mint_session_token(session_key_, {token.value().pool, call.name, token.value().id}));
}

void State::poll(PollCall call, Reply<api::PollResponse> reply, Moment moment) {
  ++next_ticket_;
  const auto refuse = [&](const Error& why) { answer<api::PollResponse>(std::move(reply), why); };
  const Result<WorkerKey> key = identify(call.worker, moment);
  if (!key.ok()) return refuse(key.error());
  const Status amounts = model::check_resources(call.resources);
  if (!amounts.ok()) return refuse(amounts.error());
  Worker& worker = worker_at(key.value(), moment);
  const bool again = call.number != 0 && call.number == worker.last_number &&
                     call.worker.instance == worker.numbered;
  if (again || overtaken(worker, call.worker.instance, call.number)) {
    // A newer one was faster, or this is the newest once more: its list is old news, and nobody
    // waits for what it would be told.
    api::PollResponse empty;
    empty.set_poll_interval_in_seconds(1);
    answer<api::PollResponse>(std::move(reply), std::move(empty));
    return;
  }
  const Status claimed = claim_name(worker, call.worker.instance, moment);
  if (!claimed.ok()) return refuse(claimed.error());
  worker.numbered = call.worker.instance;
  worker.last_number = call.number;
  if (worker.parked) answer_poll(worker, {});
  const bool changed = worker.silent || !worker.polled || worker.draining != call.draining;
  worker.draining = call.draining;
  worker.last_poll = moment.now;
  worker.polled = true;
  worker.silent = false;
  worker.features = call.features;
  refresh_facts(worker, call.labels, call.resources);
  scheduler_.set_standby(worker.index, {call.standby.isolation, call.standby.age});

  const bool doubtful = reconcile(worker, call.running_tasks, call.leaving, moment);
  if (call.leaving) {
    worker.draining = true;
    if (worker.held.empty()) {
      worker.polled = false;
      worker.record.instance.clear();
      changes_.workers.push_back(worker.record);
    }
    publish(worker);
    answer<api::PollResponse>(std::move(reply), api::PollResponse());
    return;
  }
  std::optional<Monotonic> stop_later;
  const std::vector<model::TaskId> stops =
      due_stops(worker, call.running_tasks, moment, stop_later);

  const store::PoolRecord& pool = pools_[worker.record.pool];
  const bool may_hold = call.features.hold || pool.hold_reference_polls;
  Monotonic until = moment.now;
  if (may_hold) {
    until += call.features.hold ? options_.timing.hold : options_.timing.hold_reference;
    if (doubtful) until = std::min(until, moment.now + options_.timing.doubt / 2);
    if (stop_later) until = std::min(until, *stop_later);
  }
  park(worker, Parked{std::move(reply), until, next_ticket_, may_hold ? 1U : 2U});
  if (changed) {
    publish(worker);
  } else {
    scheduler_.set_accepts(worker.index, true);
  }
  if (!stops.empty()) {
    api::PollResponse response;
    for (const model::TaskId id : stops) {
      response.add_tasks_to_stop(id.to_string());
      response.add_old_task_ids_to_stop(id.value);
    }
    answer_poll(worker, std::move(response));
  }
}

void State::poll_cancelled(const WorkerCredential& credential, std::uint64_t ticket) {
  const Result<SessionClaims> claims = read_session_token(session_key_, credential.session_token);
  const auto drop = [&](Worker& worker) {
    if (!worker.parked || worker.parked->ticket != ticket) return false;
    answer_poll(worker, {});  // nobody listens; the call object wants its answer
    return true;
  };
  if (claims.ok()) {
    const auto found = workers_.find({claims.value().pool, credential.name});
    if (found != workers_.end() && drop(found->second)) return;
  }
  for (auto& [key, worker] : workers_) {
    if (key.second == credential.name && drop(worker)) return;
  }
}

void State::park(Worker& worker, Parked parked) {
  parked_.emplace(parked.until, worker.index);
  worker.parked = std::move(parked);
}

void State::answer_all_polls() {
  while (!parked_.empty()) answer_poll(*worker_by_index_.at(parked_.begin()->second), {});
}

void State::answer_poll(Worker& worker, api::PollResponse response) {
  if (!worker.parked) return;
  Parked parked = *std::move(worker.parked);
  worker.parked.reset();
  parked_.erase({parked.until, worker.index});
  scheduler_.set_accepts(worker.index, false);
  response.set_poll_interval_in_seconds(parked.interval);
  answer<api::PollResponse>(std::move(parked.reply), std::move(response));
}

bool State::reconcile(Worker& worker, const std::vector<std::string>& running, bool last,
                      Moment moment) {
  std::set<model::TaskId> listed;
  for (const std::string& text : running) {
    const Result<model::TaskId> id = model::TaskId::parse(text);
    if (id.ok()) listed.insert(id.value());
  }
  bool doubtful = false;
  for (const model::TaskId id : std::set<model::TaskId>(worker.held)) {
    Task& task = tasks_.at(id);
    if (listed.contains(id)) {
      task.missing_polls = 0;
      task.confirmed = true;
      if (task.unreachable) {
        task.unreachable = false;
        touch(*task.build);
      }
      continue;
    }
    // One list proves nothing: it may have been written before the task was assigned.
    if (task.missing_polls++ == 0) task.first_missing = moment.now;
    const bool early =
        task.missing_polls < 2 || moment.now - task.first_missing < options_.timing.doubt;
    if (early && !last) {
      doubtful = true;
      continue;
    }
    if (model::is_final(task.record.status)) {
      release_worker(task, moment);
    } else if (task.record.status == model::TaskStatus::Assigned) {
      run_again(task, fmt::format("worker '{}' never started it", worker.record.name), moment);
    } else {
      finish_from_steps(task, Unreported::MeansUnfinished, "", moment);
      if (!model::is_final(task.record.status)) {
        run_again(task, fmt::format("worker '{}' no longer runs it", worker.record.name), moment);
      } else {
        release_worker(task, moment);
      }
    }
  }
  return doubtful;
}

std::vector<model::TaskId> State::due_stops(Worker& worker, const std::vector<std::string>& running,
                                            Moment moment, std::optional<Monotonic>& later) {
  std::vector<model::TaskId> due;
  std::map<std::string, Monotonic> strangers;
  const auto consider = [&](model::TaskId id, std::optional<Monotonic> sent) {
    if (!sent || moment.now - *sent >= options_.timing.stop_repeat) {
      due.push_back(id);
      return moment.now;
    }
    const Monotonic again = *sent + options_.timing.stop_repeat;
    if (!later || again < *later) later = again;
    return *sent;
  };
  for (const std::string& text : running) {
    const Result<model::TaskId> id = model::TaskId::parse(text);
    if (!id.ok()) continue;
    if (worker.held.contains(id.value())) {
      Task& task = tasks_.at(id.value());
      if (task.stop_wanted) task.stop_sent = consider(id.value(), task.stop_sent);
      continue;
    }
    // Unknown, another worker's, or one we gave up: it has to go. A ghost of a reference worker
    // never does, so it is told less and less often.
    const auto known = worker.strangers.find(text);
    std::optional<Monotonic> sent;
    if (known != worker.strangers.end()) sent = known->second;
    strangers[text] = consider(id.value(), sent);
  }
  worker.strangers = std::move(strangers);
  return due;
}

void State::answer_with_stops(Worker& worker, Moment moment) {
  if (!worker.parked) return;
  api::PollResponse response;
  for (const model::TaskId id : worker.held) {
    Task& task = tasks_.at(id);
    if (!task.stop_wanted || task.stop_sent) continue;
    task.stop_sent = moment.now;
    response.add_tasks_to_stop(id.to_string());
    response.add_old_task_ids_to_stop(id.value);
  }
  if (response.tasks_to_stop_size() > 0) answer_poll(worker, std::move(response));
}

void State::update_status(const WorkerCredential& credential, bool disabled, Reply<bool> reply,
                          Moment moment) {
  // By token and name: `worker pause` never registers. Source: protocol §4 rule 3.
  const Result<PoolToken> token =
      check_registration_token(credential.registration_token, credential.peer, moment);
  if (!token.ok()) return answer<bool>(std::move(reply), token.error());
  const Status scope = check_worker_scope(token.value().id, credential.name);
  if (!scope.ok()) return answer<bool>(std::move(reply), scope.error());
  const auto found = workers_.find({token.value().pool, credential.name});
  if (found == workers_.end()) {
    return answer<bool>(std::move(reply),
                        error(Code::NotFound, "no worker named '{:.128}'", credential.name));
  }
  Worker& worker = found->second;
  if (worker.record.disabled != disabled) {
    worker.record.disabled = disabled;
    changes_.workers.push_back(worker.record);
    publish(worker);
    if (!worker_audit_.refused(worker.record.pool + "/" + credential.name, moment.now).limited) {
      audit("worker " + credential.name, disabled ? "worker.pause" : "worker.resume",
            worker.record.pool + "/" + credential.name, moment);
    }
  }
  if (worker.parked) answer_poll(worker, {});
  answer<bool>(std::move(reply), disabled);
}

void State::query_running(const WorkerCredential& credential, Reply<RunningTasks> reply,
                          Moment moment) {
  const Result<PoolToken> token =
      check_registration_token(credential.registration_token, credential.peer, moment);
  if (!token.ok()) return answer<RunningTasks>(std::move(reply), token.error());
  const Status scope = check_worker_scope(token.value().id, credential.name);
  if (!scope.ok()) return answer<RunningTasks>(std::move(reply), scope.error());
  const auto found = workers_.find({token.value().pool, credential.name});
  if (found == workers_.end()) {
    return answer<RunningTasks>(
        std::move(reply), error(Code::NotFound, "no worker named '{:.128}'", credential.name));
  }
  const Worker& worker = found->second;
  answer<RunningTasks>(std::move(reply), RunningTasks{worker.record.disabled,
                                                      {worker.held.begin(), worker.held.end()}});
}

void State::answer_late(const WorkerCredential& worker, const TaskCredential& credential,
                        const Error& why, Reply<void> reply, Moment moment) {
  if (why.code() != Code::NotFound) return answer<void>(std::move(reply), why);
  const Result<store::TaskRecord> late = late_task(credential);
  if (!late.ok()) return hint<void>(std::move(reply), late.error());
  const Result<WorkerKey> key = identify(worker, moment);
  if (!key.ok()) return answer<void>(std::move(reply), key.error());
  if (late.value().pool != key.value().first || late.value().worker != key.value().second) {
    audit_misuse("worker " + key.value().second, "task.foreign", credential.id, moment);
    return answer<void>(std::move(reply),
                        error(Code::PermissionDenied, "task {} is not one of worker '{}'",
                              late.value().id, key.value().second));
  }
  hint<void>(std::move(reply), Result<void>());  // Source: protocol §17.4
}

Result<State::Task*> State::task_of_worker(const WorkerCredential& worker,
                                           const TaskCredential& credential, Moment moment) {
  const WorkerKey key = CIRRUS_TRY(identify(worker, moment));
  Task* const task = CIRRUS_TRY(task_of_agent(credential));
  if (task->record.pool != key.first || task->record.worker != key.second) {
    audit_misuse("worker " + key.second, "task.foreign", credential.id, moment);
    return error(Code::PermissionDenied, "task {} is not one of worker '{}'", task->record.id,
                 key.second);
  }
  return task;
}

void State::task_started(const WorkerCredential& worker, const TaskCredential& credential,
                         Reply<void> reply, Moment moment) {
  const Result<Task*> found = task_of_worker(worker, credential, moment);
  if (!found.ok()) {
    const Result<store::TaskRecord> late = late_task(credential);
    const bool ended = found.error().code() == Code::NotFound && late.ok();
    return answer<void>(std::move(reply),
                        ended ? error(Code::FailedPrecondition,
                                      "task {} has ended and must not start", credential.id)
                              : found.error());
  }
  Task& task = *found.value();
  if (model::is_final(task.record.status) || !task.record.holds_worker) {
    // A veto: the worker drops it and reports nothing more. But if its agent was heard, it started
    // long ago, this comes late, and its worker says when it has stopped.
    if (!task.agent_heard) release_worker(task, moment);
    return hint<void>(std::move(reply),
                      error(Code::FailedPrecondition, "task {} is {} and must not start",
                            task.record.id, model::to_string(task.record.status)));
  }
  confirm(task, moment);
  // The agent waits for this answer, and what it says is known already: the assignment is durable.
  hint<void>(std::move(reply), Result<void>());
}

void State::task_failed(const WorkerCredential& worker, const TaskCredential& credential,
                        const std::string& message, Reply<void> reply, Moment moment) {
  const Result<Task*> found = task_of_worker(worker, credential, moment);
  if (!found.ok()) return answer_late(worker, credential, found.error(), std::move(reply), moment);
  Task& task = *found.value();
  // After a final result it is a known false alarm. Source: protocol §5.3.
  if (!model::is_final(task.record.status)) {
    const bool never_started = task.record.status == model::TaskStatus::Assigned;
    std::string why = message.empty() ? "the worker could not run it" : message;
    // What its agent said before it left, if it said anything.
    if (!task.record.reason.empty()) why += ": " + task.record.reason;
    // Nothing of it ran unless its agent was heard of: safe to try on another machine.
    // Source: protocol §5.3.
    if (!run_elsewhere(task, why, moment)) {
      finish(task, model::TaskStatus::Failed, why, moment);
      // Without TaskStarted there will be no TaskStopped either.
      if (never_started) release_worker(task, moment);
    }
  }
  const auto host = workers_.find({task.record.pool, task.record.worker});
  if (host != workers_.end() && host->second.record.instance.empty()) answer_poll(host->second, {});
  answer<void>(std::move(reply), Result<void>());
}

void State::task_stopped(const WorkerCredential& worker, const TaskCredential& credential,
                         Reply<void> reply, Moment moment) {
  const Result<Task*> found = task_of_worker(worker, credential, moment);
  if (!found.ok()) return answer_late(worker, credential, found.error(), std::move(reply), moment);
  Task& task = *found.value();
  if (!model::is_final(task.record.status)) {
    confirm(task, moment);
    finish_from_steps(task, Unreported::MeansUnfinished, "the agent process ended without a result",
                      moment);
  }
  release_worker(task, moment);
  // A reference worker harvests finished tasks only around a poll. Source: protocol §5.5.
  const auto host = workers_.find({task.record.pool, task.record.worker});
  if (host != workers_.end() && host->second.record.instance.empty()) answer_poll(host->second, {});
  answer<void>(std::move(reply), Result<void>());
}

}  // namespace cirrus::controller::core
