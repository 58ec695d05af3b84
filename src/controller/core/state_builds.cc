// SPDX-License-Identifier: MIT
// The graph of a build: what may go on, what is skipped, and how the build ends.
#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "controller/core/state.h"

namespace cirrus::controller::core {

TaskContext State::context_of(const Task& task) const {
  const Build& build = *task.build;
  int index = 0;
  for (const auto& [number, node] : build.nodes) {
    if (number == task.record.node) break;
    ++index;
  }
  return {build.record,
          task.record,
          *task.spec,
          index,
          static_cast<int>(build.nodes.size()),
          options_.http_url,
          options_.open_secrets};
}

State::Task& State::add_attempt(Build& build, Node& node, int attempt, Moment moment) {
  const model::TaskId id{++last_task_id_};
  Task& task = tasks_[id];
  task.spec = node.spec;
  task.build = &build;
  task.last_heard = moment.now;
  task.record.id = id;
  task.record.build = build.record.id;
  task.record.node = node.definition.node;
  task.record.attempt = attempt;
  task.record.created_ms = moment.millis();
  // New secrets per attempt, so that a late agent of an older one cannot write into this one.
  task.record.client_secret = options_.make_secret();
  task.record.server_secret = options_.make_secret();
  if (!build.record.commit.empty()) {
    task.record.clone_token = options_.make_secret();
    clone_tokens_[task.record.clone_token] = id;
  }
  int position = 0;
  for (const TaskSpec::Step& step : node.spec->steps) {
    task.steps.push_back({id, position++, step.name, model::StepStatus::Created, 0});
  }
  node.attempts.push_back(id);
  touch(task);
  touch_steps(task);
  return task;
}

void State::submit(NewBuild request, Reply<model::BuildId> reply, Moment moment) {
  const model::BuildId id{++last_build_id_};
  Build& build = builds_[id];
  build.record.id = id;
  build.record.repository = std::move(request.repository);
  build.record.branch = std::move(request.branch);
  build.record.commit = std::move(request.commit);
  build.record.message = std::move(request.message);
  build.record.environment = std::move(request.environment);
  build.record.priority = request.priority;
  build.record.created_ms = moment.millis();
  api::EvaluateConfigResponse issues;
  for (api::Issue& issue : request.issues) *issues.add_issues() = std::move(issue);
  build.record.issues = issues.SerializeAsString();

  std::set<std::int64_t> known;
  for (const api::Task& task : request.tasks) known.insert(task.local_group_id());
  for (api::Task& message : request.tasks) {
    Node node;
    node.definition.build = id;
    node.definition.node = static_cast<int>(message.local_group_id());
    std::set<int> depends_on;
    for (const std::int64_t required : message.required_groups()) {
      if (known.contains(required)) depends_on.insert(static_cast<int>(required));
    }
    node.definition.depends_on.assign(depends_on.begin(), depends_on.end());
    node.definition.task = message.SerializeAsString();
    node.spec = read_task_spec(std::move(message), build.record.priority);
    const int number = node.definition.node;
    changes_.definitions.push_back(node.definition);
    Node& placed = build.nodes[number] = std::move(node);
    add_attempt(build, placed, 1, moment);
  }
  touch(build);
  audit(request.actor, "build.submit", id.to_string(), moment);
  log_info("build submitted",
           {{"build", id}, {"repository", build.record.repository}, {"tasks", build.nodes.size()}});
  advance(build, moment);
  changes_.builds.push_back(build.record);
  answer<model::BuildId>(std::move(reply), id);
}

void State::make_ready(Task& task, Moment moment) {
  if (!task.spec->unrunnable.empty()) {
    finish(task, model::TaskStatus::Failed, task.spec->unrunnable, moment);
    return;
  }
  take_lock(task);
  if (task.spec->execution_lock.empty() ||
      locks_.at(task.build->record.repository + "\n" + task.spec->execution_lock).front() ==
          task.record.id) {
    if (!scheduler_.is_waiting(task.record.id)) {
      scheduler_.add_task(task.record.id, task.spec->demand);
      task.ready_at = moment.now;
    }
  }
}

void State::take_lock(Task& task) {
  if (task.spec->execution_lock.empty()) return;
  std::deque<model::TaskId>& line =
      locks_[task.build->record.repository + "\n" + task.spec->execution_lock];
  if (std::find(line.begin(), line.end(), task.record.id) != line.end()) return;
  // After a restart running tasks come before those that only wait.
  if (model::is_running(task.record.status)) {
    line.push_front(task.record.id);
  } else {
    line.push_back(task.record.id);
  }
}

void State::leave_lock(Task& task) {
  if (task.spec->execution_lock.empty()) return;
  const std::string key = task.build->record.repository + "\n" + task.spec->execution_lock;
  const auto found = locks_.find(key);
  if (found == locks_.end()) return;
  std::erase(found->second, task.record.id);
  if (found->second.empty()) {
    locks_.erase(found);
    return;
  }
  Task* const next = find_task(found->second.front());
  if (next != nullptr && next->record.status == model::TaskStatus::Ready &&
      !scheduler_.is_waiting(next->record.id)) {
    scheduler_.add_task(next->record.id, next->spec->demand);
  }
}

void State::advance(Build& build, Moment moment) {
  // Until nothing moves: a skipped task may decide what happens to those after it. The graph has
  // no cycles (the language refuses them), so every round but the last ends at least one task.
  for (bool moved = true; moved;) {
    moved = false;
    for (auto& [number, node] : build.nodes) {
      Task& task = current(node);
      if (task.record.status != model::TaskStatus::Created) continue;
      bool all_good = true;
      const Task* blocker = nullptr;
      for (const int required : node.definition.depends_on) {
        const Task& other = current(build.nodes.at(required));
        const model::TaskStatus status = other.record.status;
        if (!model::is_final(status)) {
          all_good = false;
          continue;
        }
        const bool passes = status == model::TaskStatus::Completed ||
                            (status == model::TaskStatus::Skipped && other.spec->skipped) ||
                            (status == model::TaskStatus::Failed && other.spec->allow_failures);
        if (!passes && blocker == nullptr) blocker = &other;
      }
      if (blocker != nullptr) {
        const std::string reason =
            fmt::format("it depends on task '{}', which {} {}", blocker->spec->name,
                        blocker->record.status == model::TaskStatus::Failed ? "has" : "was",
                        model::to_string(blocker->record.status));
        moved = true;
        move_to(task, model::TaskStatus::Skipped);
        task.record.reason = reason;
        task.record.finished_ms = moment.millis();
        task.gate->open = false;
        continue;
      }
      if (!all_good) continue;
      if (task.spec->skipped) {
        moved = true;
        move_to(task, model::TaskStatus::Skipped);
        task.record.reason = "its skip condition holds";
        task.record.finished_ms = moment.millis();
        task.gate->open = false;
        continue;
      }
      if (task.spec->manual && !task.record.triggered) continue;
      move_to(task, model::TaskStatus::Ready);
      make_ready(task, moment);  // may end it at once and come back here
    }
  }
  update_status_of(build, moment);
}

void State::update_status_of(Build& build, Moment moment) {
  bool open = false;
  bool started = false;
  bool failed = false;
  bool aborted = false;
  for (const auto& [number, node] : build.nodes) {
    const Task& task = current(node);
    const model::TaskStatus status = task.record.status;
    if (!model::is_final(status)) {
      // Tasks that wait for a person do not keep the build open.
      const bool waits_for_person =
          status == model::TaskStatus::Created && task.spec->manual && !task.record.triggered;
      if (!waits_for_person) open = true;
    }
    if (status >= model::TaskStatus::Assigned && status != model::TaskStatus::Skipped)
      started = true;
    if (status == model::TaskStatus::Failed && !task.spec->allow_failures) failed = true;
    if (status == model::TaskStatus::Aborted) aborted = true;
  }
  const model::BuildStatus status =
      open      ? (started ? model::BuildStatus::Executing : model::BuildStatus::Created)
      : failed  ? model::BuildStatus::Failed
      : aborted ? model::BuildStatus::Aborted
                : model::BuildStatus::Completed;
  if (status == build.record.status) return;
  const bool was_final = model::is_final(build.record.status);
  build.record.status = status;
  build.record.finished_ms = open ? 0 : moment.millis();
  touch(build);
  changes_.builds.push_back(build.record);
  if (!open && !was_final) {
    finished_builds_.push_back(build.record.id);
    log_info("build ended", {{"build", build.record.id}, {"status", model::to_string(status)}});
  }
}

void State::cancel(Task& task, const std::string& reason, Moment moment) {
  if (model::is_final(task.record.status)) return;
  finish(task, model::TaskStatus::Aborted, reason, moment);
  want_stop(task, moment);
}

void State::cancel_build(model::BuildId id, const std::string& actor, Reply<void> reply,
                         Moment moment) {
  Build* const build = find_build(id);
  if (build == nullptr)
    return answer<void>(std::move(reply), error(Code::NotFound, "no build {}", id));
  audit(actor, "build.cancel", id.to_string(), moment);
  for (auto& [number, node] : build->nodes) cancel(current(node), "cancelled by " + actor, moment);
  update_status_of(*build, moment);
  answer<void>(std::move(reply), Result<void>());
}

void State::cancel_task(model::TaskId id, const std::string& actor, Reply<void> reply,
                        Moment moment) {
  Task* const task = find_task(id);
  if (task == nullptr)
    return answer<void>(std::move(reply), error(Code::NotFound, "no task {}", id));
  audit(actor, "task.cancel", id.to_string(), moment);
  cancel(*task, "cancelled by " + actor, moment);
  answer<void>(std::move(reply), Result<void>());
}

void State::rerun_task(model::TaskId id, const std::string& actor, Reply<model::TaskId> reply,
                       Moment moment) {
  Task* const task = find_task(id);
  if (task == nullptr) {
    return answer<model::TaskId>(std::move(reply), error(Code::NotFound, "no task {}", id));
  }
  Build& build = *task->build;
  const int number = task->record.node;
  if (current(build.nodes.at(number)).record.id != id) {
    return answer<model::TaskId>(
        std::move(reply), error(Code::FailedPrecondition, "task {} was run again already as {}", id,
                                current(build.nodes.at(number)).record.id));
  }
  if (!model::is_final(task->record.status)) {
    return answer<model::TaskId>(std::move(reply),
                                 error(Code::FailedPrecondition, "task {} has not ended yet", id));
  }
  audit(actor, "task.rerun", id.to_string(), moment);
  const model::TaskId fresh =
      add_attempt(build, build.nodes.at(number), task->record.attempt + 1, moment).record.id;
  tasks_.at(fresh).record.triggered = true;
  // What was skipped because of it gets another chance, and what comes after that.
  std::set<int> reopened = {number};
  for (bool grown = true; grown;) {
    grown = false;
    for (auto& [other, node] : build.nodes) {
      Task& dependant = current(node);
      if (reopened.contains(other) || dependant.record.status != model::TaskStatus::Skipped ||
          dependant.spec->skipped) {
        continue;
      }
      const bool depends =
          std::any_of(node.definition.depends_on.begin(), node.definition.depends_on.end(),
                      [&](int required) { return reopened.contains(required); });
      if (!depends) continue;
      add_attempt(build, node, dependant.record.attempt + 1, moment);
      reopened.insert(other);
      grown = true;
    }
  }
  advance(build, moment);
  answer<model::TaskId>(std::move(reply), fresh);
}

void State::adopt_build(store::BuildRows rows, Moment moment) {
  if (find_build(rows.build.id) == nullptr) load_build(std::move(rows), moment);
}

void State::trigger_task(model::TaskId id, const std::string& actor, Reply<void> reply,
                         Moment moment) {
  Task* const task = find_task(id);
  if (task == nullptr)
    return answer<void>(std::move(reply), error(Code::NotFound, "no task {}", id));
  if (!task->spec->manual || task->record.status != model::TaskStatus::Created) {
    return answer<void>(std::move(reply),
                        error(Code::FailedPrecondition, "task {} does not wait for a trigger", id));
  }
  audit(actor, "task.trigger", id.to_string(), moment);
  task->record.triggered = true;
  touch(*task);
  advance(*task->build, moment);
  answer<void>(std::move(reply), Result<void>());
}

void State::run_again(Task& task, const std::string& why, Moment moment) {
  const model::TaskId old = task.record.id;
  Build& build = *task.build;
  Node& node = build.nodes.at(task.record.node);
  const int attempt = task.record.attempt;
  const bool once_only = task.spec->stateful || !task.spec->execution_lock.empty();
  const bool never_started = task.record.status == model::TaskStatus::Assigned;
  if (once_only && !never_started) {
    finish(task, model::TaskStatus::Failed,
           why + "; it is not run again by itself because it is stateful or holds a lock", moment);
    release_worker(task, moment);
    return;
  }
  if (attempt >= options_.timing.max_attempts) {
    finish(task, model::TaskStatus::Failed, fmt::format("{} (attempt {})", why, attempt), moment);
    release_worker(task, moment);
    return;
  }
  // The new attempt first: the build must not be final for a moment in between.
  Task& fresh = add_attempt(build, node, attempt + 1, moment);
  fresh.record.triggered = tasks_.at(old).record.triggered;
  Task& ended = tasks_.at(old);
  finish(ended, model::TaskStatus::Aborted,
         fmt::format("{}; it runs again as task {}", why, fresh.record.id), moment);
  release_worker(ended, moment);
  log_warning("task runs again", {{"task", old}, {"as", fresh.record.id}, {"why", why}});
}

}  // namespace cirrus::controller::core
