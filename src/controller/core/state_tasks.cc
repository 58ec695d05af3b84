// SPDX-License-Identifier: MIT
// What agents report, and how attempts end.
#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "controller/core/state.h"

namespace cirrus::controller::core {

Result<State::Task*> State::task_of_agent(const TaskCredential& credential) {
  // Source of the codes: protocol §4 rule 4.
  if (credential.id.empty() || credential.secret.empty()) {
    return error(Code::Unauthenticated, "task id and client secret are required");
  }
  const model::TaskId id = CIRRUS_TRY(model::TaskId::parse(credential.id));
  Task* const task = find_task(id);
  if (task == nullptr) return error(Code::NotFound, "no task {}", id);
  if (task->record.client_secret.empty() ||
      !equal_in_constant_time(task->record.client_secret, credential.secret)) {
    return error(Code::Unauthenticated, "the client secret of task {} is wrong", id);
  }
  return task;
}

Result<store::TaskRecord> State::late_task(const TaskCredential& credential) const {
  const model::TaskId id = CIRRUS_TRY(model::TaskId::parse(credential.id));
  const auto unknown = [&] { return error(Code::NotFound, "no task {}", id); };
  if (!options_.find_task || id.value > last_task_id_) return unknown();
  std::optional<store::TaskRecord> record = CIRRUS_TRY(options_.find_task(id));
  if (!record) return unknown();
  if (record->client_secret.empty() ||
      !equal_in_constant_time(record->client_secret, credential.secret)) {
    return error(Code::Unauthenticated, "the client secret of task {} is wrong", id);
  }
  return *std::move(record);
}

void State::answer_late(const TaskCredential& credential, const Error& why, Reply<void> reply) {
  if (why.code() != Code::NotFound) return hint<void>(std::move(reply), why);
  const Result<store::TaskRecord> late = late_task(credential);
  if (!late.ok()) return hint<void>(std::move(reply), late.error());
  hint<void>(std::move(reply), Result<void>());  // Source: protocol §17.4
}

void State::move_to(Task& task, model::TaskStatus status, Weight weight) {
  CIRRUS_CHECK(model::may_move(task.record.status, status), "a task made an illegal move");
  task.record.status = status;
  if (weight == Weight::Light) {
    touch_lightly(task);
  } else {
    touch(task);
  }
}

void State::confirm(Task& task, Moment moment) {
  task.confirmed = true;
  if (task.record.status != model::TaskStatus::Assigned) return;
  // Light: its worker's list, and everything its agent says, say so again.
  move_to(task, model::TaskStatus::Executing, Weight::Light);
  task.record.started_ms = moment.millis();
  task.deadline = moment.now + task.spec->timeout + options_.timing.deadline_margin;
}

void State::heard(Task& task, Moment moment) {
  task.last_heard = moment.now;
  task.agent_heard = true;
  task.maybe_ran = true;
  if (task.unreachable) {
    task.unreachable = false;
    touch(*task.build);
  }
}

void State::initial_commands(const TaskCredential& credential, Reply<api::CommandsResponse> reply,
                             Moment moment) {
  const Result<Task*> found = task_of_agent(credential);
  if (!found.ok()) {
    const Result<store::TaskRecord> late = late_task(credential);
    const bool ended = found.error().code() == Code::NotFound && late.ok();
    return hint<api::CommandsResponse>(
        std::move(reply), ended
                              ? error(Code::FailedPrecondition, "task {} has ended", credential.id)
                              : found.error());
  }
  Task& task = *found.value();
  if (!model::is_running(task.record.status)) {
    // The agent retries for ever; its worker is told to stop it.
    want_stop(task, moment);
    return hint<api::CommandsResponse>(
        std::move(reply), error(Code::FailedPrecondition, "task {} is {}", task.record.id,
                                model::to_string(task.record.status)));
  }
  confirm(task, moment);
  heard(task, moment);
  hint<api::CommandsResponse>(std::move(reply), commands_message(context_of(task)));
}

void State::apply_updates(Task& task, const std::vector<StepUpdate>& updates, Weight weight) {
  for (const StepUpdate& update : updates) {
    const auto step = std::find_if(task.steps.begin(), task.steps.end(),
                                   [&](const auto& known) { return known.name == update.name; });
    if (step == task.steps.end()) continue;
    // The last one wins, but a repeated EXECUTING does not reopen what has ended.
    if (update.status == model::StepStatus::Executing && model::is_final(step->status)) continue;
    if (step->status == update.status && step->duration_ns == update.duration_ns) continue;
    step->status = update.status;
    if (update.duration_ns > 0) step->duration_ns = update.duration_ns;
    if (weight == Weight::Light) {
      light_steps_.insert(task.record.id);
      touch(*task.build);
    } else {
      touch_steps(task);
    }
  }
}

void State::step_updates(const TaskCredential& credential, const std::vector<StepUpdate>& updates,
                         Reply<void> reply, Moment moment) {
  const Result<Task*> found = task_of_agent(credential);
  if (!found.ok()) return answer_late(credential, found.error(), std::move(reply));
  Task& task = *found.value();
  if (!model::is_running(task.record.status)) {
    return hint<void>(std::move(reply), Result<void>());  // late: dropped
  }
  confirm(task, moment);
  heard(task, moment);
  for (const StepUpdate& update : updates) {
    const bool known = std::any_of(task.steps.begin(), task.steps.end(),
                                   [&](const auto& step) { return step.name == update.name; });
    if (!known) {
      return answer<void>(std::move(reply),
                          error(Code::FailedPrecondition, "task {} has no step '{:.80}'",
                                task.record.id, update.name));
    }
  }
  // That a step began is a hint. How it ended is a result: if the final report never comes, the
  // end of the task is made from these. Source: protocol §12.
  const bool results = std::any_of(updates.begin(), updates.end(), [](const StepUpdate& update) {
    return model::is_final(update.status);
  });
  apply_updates(task, updates, results ? Weight::Heavy : Weight::Light);
  if (!results) return hint<void>(std::move(reply), Result<void>());
  answer<void>(std::move(reply), Result<void>());
}

void State::agent_finished(const TaskCredential& credential, const std::vector<StepUpdate>& results,
                           Reply<void> reply, Moment moment) {
  const Result<Task*> found = task_of_agent(credential);
  if (!found.ok()) return answer_late(credential, found.error(), std::move(reply));
  Task& task = *found.value();
  if (model::is_running(task.record.status)) {
    confirm(task, moment);
    heard(task, moment);
    apply_updates(task, results, Weight::Heavy);
    finish_from_steps(task, Unreported::MeansSkipped, "the agent ended before all steps had run",
                      moment);
  }
  answer<void>(std::move(reply), Result<void>());
}

void State::heartbeat(const TaskCredential& credential, Reply<void> reply, Moment moment) {
  const Result<Task*> found = task_of_agent(credential);
  if (!found.ok()) return answer_late(credential, found.error(), std::move(reply));
  if (model::is_running(found.value()->record.status)) {
    confirm(*found.value(), moment);
    heard(*found.value(), moment);
  }
  hint<void>(std::move(reply), Result<void>());
}

void State::agent_problem(const TaskCredential& credential, const std::string& message,
                          Reply<void> reply, Moment moment) {
  const Result<Task*> found = task_of_agent(credential);
  if (!found.ok()) return answer_late(credential, found.error(), std::move(reply));
  Task& task = *found.value();
  heard(task, moment);
  if (model::is_running(task.record.status)) {
    task.record.reason = message;  // explains the end, if it ends badly
    touch(task);
  }
  answer<void>(std::move(reply), Result<void>());
}

void State::log_permit(const TaskCredential& credential, const std::string& step,
                       Reply<LogPermit> reply, Moment moment) {
  const Result<Task*> found = task_of_agent(credential);
  if (!found.ok()) {
    if (found.error().code() != Code::NotFound) {
      return hint<LogPermit>(std::move(reply), found.error());
    }
    const Result<store::TaskRecord> late = late_task(credential);
    if (!late.ok()) return hint<LogPermit>(std::move(reply), late.error());
    // Its bytes no longer count: they are read and dropped.
    auto shut = std::make_shared<AttemptGate>();
    shut->open = false;
    return hint<LogPermit>(std::move(reply), LogPermit{late.value().id, std::move(shut), {}});
  }
  Task& task = *found.value();
  const bool known = std::any_of(task.steps.begin(), task.steps.end(),
                                 [&](const auto& record) { return record.name == step; });
  if (!known) {
    return hint<LogPermit>(
        std::move(reply),
        error(Code::FailedPrecondition, "task {} has no step '{:.80}'", task.record.id, step));
  }
  if (model::is_running(task.record.status)) {
    confirm(task, moment);
    heard(task, moment);
  }
  hint<LogPermit>(std::move(reply),
                  LogPermit{task.record.id, task.gate, secrets_of(context_of(task))});
}

void State::blob_permit(const TaskCredential& credential, Reply<BlobPermit> reply, Moment moment) {
  const Result<Task*> found = task_of_agent(credential);
  if (!found.ok()) return hint<BlobPermit>(std::move(reply), found.error());
  Task& task = *found.value();
  const bool running = model::is_running(task.record.status);
  // A cancelled task has steps that run all the same, until its worker has stopped it.
  const bool stopping =
      task.record.status == model::TaskStatus::Aborted && task.record.holds_worker;
  if ((!running && !stopping) || !task.gate->open) {
    return hint<BlobPermit>(std::move(reply),
                            error(Code::PermissionDenied, "task {} has ended", task.record.id));
  }
  if (running) {
    confirm(task, moment);
    heard(task, moment);
  }
  hint<BlobPermit>(std::move(reply), BlobPermit{task.record.id, task.build->record.repository,
                                                task.build->record.cache_space, task.gate});
}

void State::clone_permit(const std::string& token, Reply<std::string> reply) {
  const auto found = clone_tokens_.find(token);
  const Task* const task = found == clone_tokens_.end() ? nullptr : find_task(found->second);
  if (task == nullptr || !model::is_running(task->record.status)) {
    return hint<std::string>(std::move(reply),
                             error(Code::Unauthenticated, "the clone token is not valid"));
  }
  hint<std::string>(std::move(reply), task->build->record.repository);
}

void State::finish_from_steps(Task& task, Unreported unreported, const std::string& otherwise,
                              Moment moment) {
  const store::StepRecord* failed = nullptr;
  bool unfinished = false;
  bool any_result = task.steps.empty();
  for (const store::StepRecord& step : task.steps) {
    if (step.status == model::StepStatus::Failed && failed == nullptr) failed = &step;
    if (step.status == model::StepStatus::Executing) unfinished = true;
    if (step.status == model::StepStatus::Created && unreported == Unreported::MeansUnfinished) {
      unfinished = true;
    }
    if (model::is_final(step.status)) any_result = true;
  }
  // In a final report a step without a result does not count against the task: an `exit`
  // instruction and a partial run end like that. But something must have been reported.
  if (failed != nullptr) {
    finish(task, model::TaskStatus::Failed, fmt::format("step '{}' failed", failed->name), moment);
  } else if (!unfinished && any_result) {
    finish(task, model::TaskStatus::Completed, "", moment);
  } else if (!otherwise.empty()) {
    const std::string reason =
        task.record.reason.empty() ? otherwise : otherwise + ": " + task.record.reason;
    finish(task, model::TaskStatus::Failed, reason, moment);
  }
}

void State::finish(Task& task, model::TaskStatus status, std::string reason, Moment moment) {
  scheduler_.remove_task(task.record.id);
  avoiding_.erase(task.record.id);
  move_to(task, status);
  task.record.reason = std::move(reason);
  task.record.finished_ms = moment.millis();
  task.unreachable = false;
  clone_tokens_.erase(task.record.clone_token);
  bool steps_changed = false;
  for (store::StepRecord& step : task.steps) {
    if (model::is_final(step.status)) continue;
    const bool ran = step.status == model::StepStatus::Executing;
    step.status = !ran                                     ? model::StepStatus::Skipped
                  : status == model::TaskStatus::Failed    ? model::StepStatus::Failed
                  : status == model::TaskStatus::Completed ? model::StepStatus::Completed
                                                           : model::StepStatus::Aborted;
    steps_changed = true;
  }
  if (steps_changed) touch_steps(task);
  if (!task.record.holds_worker) {
    task.gate->open = false;
    active_.erase(task.record.id);
    leave_lock(task);
  }
  log_info("task ended", {{"task", task.record.id},
                          {"status", model::to_string(status)},
                          {"reason", task.record.reason}});
  advance(*task.build, moment);
}

void State::release_worker(Task& task, Moment moment) {
  static_cast<void>(moment);
  if (!task.record.holds_worker) return;
  task.record.holds_worker = false;
  task.gate->open = false;
  task.stop_wanted = false;
  touch_lightly(task);  // its worker's list, which no longer has it, says so again
  scheduler_.release(task.record.id);
  active_.erase(task.record.id);
  const auto worker = workers_.find({task.record.pool, task.record.worker});
  if (worker != workers_.end()) worker->second.held.erase(task.record.id);
  leave_lock(task);
}

void State::want_stop(Task& task, Moment moment) {
  if (!task.record.holds_worker) return;
  task.stop_wanted = true;
  const auto worker = workers_.find({task.record.pool, task.record.worker});
  if (worker != workers_.end()) answer_with_stops(worker->second, moment);
}

}  // namespace cirrus::controller::core
