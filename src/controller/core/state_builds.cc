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
          options_.open_secrets,
          has_terminal(task) ? task.steps.back().name : std::string()};
}

bool State::has_terminal(const Task& task) {
  return task.steps.size() > task.spec->steps.size();
}

State::Task& State::add_attempt(Build& build, Node& node, int attempt, Moment moment,
                                RerunWish wish) {
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
  if (wish.terminal) {
    task.steps.push_back(
        {id, position, free_step_name(*node.spec, "terminal"), model::StepStatus::Created, 0});
  }
  node.attempts.push_back(id);
  touch(task);
  touch_steps(task);
  return task;
}

void State::submit(NewBuild request, Reply<model::BuildId> reply, Moment moment) {
  const Status allowed = request.actor.check_may_act_on(request.repository);
  if (!allowed.ok()) return answer<model::BuildId>(std::move(reply), allowed.error());
  const model::BuildId id{++last_build_id_};
  Build& build = builds_[id];
  build.record.id = id;
  build.record.repository = std::move(request.repository);
  build.record.branch = std::move(request.branch);
  build.record.commit = std::move(request.commit);
  build.record.message = std::move(request.message);
  build.record.environment = std::move(request.environment);
  build.record.priority = request.priority;
  // What an untrusted token submits never writes what trusted builds restore.
  if (!request.actor.trusted) build.record.cache_space = "token-" + request.actor.token_id;
  build.record.trusted = request.actor.trusted;
  build.record.submitted_by = request.actor.token_id;
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
    node.spec = read_task_spec(std::move(message), build.record);
    const int number = node.definition.node;
    changes_.definitions.push_back(node.definition);
    Node& placed = build.nodes[number] = std::move(node);
    add_attempt(build, placed, 1, moment);
  }
  touch(build);
  audit(request.actor.name, "build.submit", id.to_string(), moment);
  log_info("build submitted",
           {{"build", id}, {"repository", build.record.repository}, {"tasks", build.nodes.size()}});
  advance(build, moment);
  changes_.builds.push_back(build.record);
  cancel_outdated(build, moment);
  answer<model::BuildId>(std::move(reply), id);
}

std::string State::refused_by_every_pool(const TaskSpec& spec) const {
  const std::optional<model::IsolationKind>& kind = spec.demand.untrusted_in;
  if (!kind || pools_.empty()) return {};
  bool any_for_untrusted = false;
  for (const auto& [name, pool] : pools_) {
    if (pool.untrusted_isolations.allows(*kind)) return {};
    any_for_untrusted = any_for_untrusted || !pool.untrusted_isolations.empty();
  }
  return fmt::format(
      "its build is not trusted, and {}: submit it with a trusted token, or {}",
      any_for_untrusted
          ? fmt::format("no pool lets such builds use isolation '{}'", model::to_string(*kind))
          : std::string("every pool takes trusted builds only"),
      any_for_untrusted ? "use another isolation" : "let an administrator make a pool for others");
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
    enqueue(task);
    task.ready_at = moment.now;
  }
}

std::vector<model::TaskId> State::lost_before(const Task& task) const {
  const std::vector<model::TaskId>& attempts = task.build->nodes.at(task.record.node).attempts;
  const auto self = std::find(attempts.begin(), attempts.end(), task.record.id);
  const auto lost = std::min<std::ptrdiff_t>(task.record.lost_before, self - attempts.begin());
  return {self - lost, self};
}

void State::enqueue(Task& task) {
  if (scheduler_.is_waiting(task.record.id)) return;
  scheduler::Demand demand = task.spec->demand;
  demand.avoid = workers_to_avoid(task.build->nodes.at(task.record.node), lost_before(task));
  if (!demand.avoid.empty()) avoiding_.insert(task.record.id);
  scheduler_.add_task(task.record.id, demand);
}

std::set<scheduler::WorkerIndex> State::workers_to_avoid(const Node& node,
                                                         std::vector<model::TaskId> lost) const {
  std::set<scheduler::WorkerIndex> avoid;
  for (const model::TaskId id : lost) {
    const Task& attempt = tasks_.at(id);
    const auto host = workers_.find({attempt.record.pool, attempt.record.worker});
    if (host != workers_.end()) avoid.insert(host->second.index);
  }
  if (avoid.empty()) return avoid;
  for (const auto& [key, worker] : workers_) {
    if (!avoid.contains(worker.index) && scheduler_.could_run(worker.index, node.spec->demand)) {
      return avoid;
    }
  }
  return {};  // nobody else: better there than nowhere
}

void State::review_avoided() {
  for (const model::TaskId id : std::set<model::TaskId>(avoiding_)) {
    Task* const task = find_task(id);
    if (task == nullptr || !scheduler_.is_waiting(id)) {
      avoiding_.erase(id);
      continue;
    }
    if (!workers_to_avoid(task->build->nodes.at(task->record.node), lost_before(*task)).empty()) {
      continue;
    }
    avoiding_.erase(id);
    scheduler_.remove_task(id);
    enqueue(*task);
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
  if (next != nullptr && next->record.status == model::TaskStatus::Ready) enqueue(*next);
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
      // Either may end it at once and come back here.
      const std::string refused = refused_by_every_pool(*task.spec);
      if (refused.empty()) {
        make_ready(task, moment);
      } else {
        finish(task, model::TaskStatus::Failed, refused, moment);
      }
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

void State::cancel_outdated(const Build& newer, Moment moment) {
  const std::string reason =
      fmt::format("build {} of branch '{:.80}' is newer", newer.record.id, newer.record.branch);
  for (auto& [id, build] : builds_) {
    if (id >= newer.record.id || model::is_final(build.record.status) ||
        build.record.branch != newer.record.branch ||
        build.record.repository != newer.record.repository) {
      continue;
    }
    // A branch is a word of the submission: it must not end what others trust.
    if (build.record.trusted && !newer.record.trusted) continue;
    for (auto& [number, node] : build.nodes) {
      Task& task = current(node);
      // What is stateful must not be cut off; as long as it has not begun, it may be.
      const bool spared = task.spec->stateful && model::is_running(task.record.status);
      if (task.spec->auto_cancellation && !spared) cancel(task, reason, moment);
    }
    update_status_of(build, moment);
  }
}

void State::cancel_build(model::BuildId id, const Actor& actor, Reply<void> reply, Moment moment) {
  Build* const build = find_build(id);
  if (build == nullptr)
    return answer<void>(std::move(reply), error(Code::NotFound, "no build {}", id));
  const Status allowed = actor.check_may_act_on(build->record.repository);
  if (!allowed.ok()) return answer<void>(std::move(reply), allowed.error());
  audit(actor.name, "build.cancel", id.to_string(), moment);
  for (auto& [number, node] : build->nodes) {
    cancel(current(node), "cancelled by " + actor.name, moment);
  }
  update_status_of(*build, moment);
  answer<void>(std::move(reply), Result<void>());
}

void State::cancel_task(model::TaskId id, const Actor& actor, Reply<void> reply, Moment moment) {
  Task* const task = find_task(id);
  if (task == nullptr)
    return answer<void>(std::move(reply), error(Code::NotFound, "no task {}", id));
  const Status allowed = actor.check_may_act_on(task->build->record.repository);
  if (!allowed.ok()) return answer<void>(std::move(reply), allowed.error());
  audit(actor.name, "task.cancel", id.to_string(), moment);
  cancel(*task, "cancelled by " + actor.name, moment);
  answer<void>(std::move(reply), Result<void>());
}

void State::rerun_task(model::TaskId id, const Actor& actor, Reply<model::TaskId> reply,
                       Moment moment, RerunWish wish) {
  const auto refuse = [&](Error why) { answer<model::TaskId>(std::move(reply), std::move(why)); };
  Task* const task = find_task(id);
  if (task == nullptr) return refuse(error(Code::NotFound, "no task {}", id));
  Build& build = *task->build;
  const Status allowed = actor.check_may_act_on(build.record.repository);
  if (!allowed.ok()) return refuse(allowed.error());
  const int number = task->record.node;
  const model::TaskId latest = current(build.nodes.at(number)).record.id;
  if (latest != id) {
    return refuse(
        error(Code::FailedPrecondition, "task {} was run again already as {}", id, latest));
  }
  if (!model::is_final(task->record.status)) {
    return refuse(error(Code::FailedPrecondition, "task {} has not ended yet", id));
  }
  audit(actor.name, "task.rerun", id.to_string(), moment);
  const model::TaskId fresh = reopen(build, {number}, moment, wish).front();
  answer<model::TaskId>(std::move(reply), fresh);
}

void State::rerun_build(model::BuildId id, const Actor& actor,
                        Reply<std::vector<model::TaskId>> reply, Moment moment) {
  const auto refuse = [&](Error why) {
    answer<std::vector<model::TaskId>>(std::move(reply), std::move(why));
  };
  Build* const build = find_build(id);
  if (build == nullptr) return refuse(error(Code::NotFound, "no build {}", id));
  const Status allowed = actor.check_may_act_on(build->record.repository);
  if (!allowed.ok()) return refuse(allowed.error());
  std::set<int> seeds;
  for (const auto& [number, node] : build->nodes) {
    const model::TaskStatus status = current(node).record.status;
    if (status == model::TaskStatus::Failed || status == model::TaskStatus::Aborted) {
      seeds.insert(number);
    }
  }
  if (seeds.empty()) {
    return refuse(
        error(Code::FailedPrecondition, "build {} has no task that failed or was aborted", id));
  }
  audit(actor.name, "build.rerun", id.to_string(), moment);
  answer<std::vector<model::TaskId>>(std::move(reply), reopen(*build, seeds, moment));
}

std::vector<model::TaskId> State::reopen(Build& build, const std::set<int>& seeds, Moment moment,
                                         RerunWish wish) {
  std::vector<model::TaskId> fresh;
  for (const int number : seeds) {
    Node& node = build.nodes.at(number);
    Task& task = add_attempt(build, node, current(node).record.attempt + 1, moment, wish);
    task.record.triggered = true;
    fresh.push_back(task.record.id);
  }
  // What was skipped because of them gets another chance, and what comes after that.
  std::set<int> reopened = seeds;
  for (bool grown = true; grown;) {
    grown = false;
    for (auto& [other, node] : build.nodes) {
      const Task& dependant = current(node);
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
  return fresh;
}

void State::adopt_build(store::BuildRows rows, Moment moment) {
  if (removed_.contains(rows.build.id)) return;  // since the rows were read
  if (find_build(rows.build.id) == nullptr) load_build(std::move(rows), moment);
}

void State::trigger_task(model::TaskId id, const Actor& actor, Reply<void> reply, Moment moment) {
  Task* const task = find_task(id);
  if (task == nullptr)
    return answer<void>(std::move(reply), error(Code::NotFound, "no task {}", id));
  const Status allowed = actor.check_may_act_on(task->build->record.repository);
  if (!allowed.ok()) return answer<void>(std::move(reply), allowed.error());
  if (!task->spec->manual || task->record.status != model::TaskStatus::Created) {
    return answer<void>(std::move(reply),
                        error(Code::FailedPrecondition, "task {} does not wait for a trigger", id));
  }
  audit(actor.name, "task.trigger", id.to_string(), moment);
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
  if (task.record.lost_before + 1 >= options_.timing.max_attempts) {
    finish(task, model::TaskStatus::Failed,
           fmt::format("{} (attempt {}; {} in a row were lost)", why, attempt,
                       task.record.lost_before + 1),
           moment);
    release_worker(task, moment);
    return;
  }
  // The new attempt first: the build must not be final for a moment in between.
  Task& fresh = add_attempt(build, node, attempt + 1, moment, {has_terminal(task)});
  fresh.record.triggered = tasks_.at(old).record.triggered;
  fresh.record.lost_before = tasks_.at(old).record.lost_before + 1;
  Task& ended = tasks_.at(old);
  finish(ended, model::TaskStatus::Aborted,
         fmt::format("{}; it runs again as task {}", why, fresh.record.id), moment);
  release_worker(ended, moment);
  log_warning("task runs again", {{"task", old}, {"as", fresh.record.id}, {"why", why}});
}

bool State::run_elsewhere(Task& task, const std::string& why, Moment moment) {
  const bool never_started = task.record.status == model::TaskStatus::Assigned;
  const bool once_only = task.spec->stateful || !task.spec->execution_lock.empty();
  if (task.maybe_ran || (once_only && !never_started)) return false;
  if (task.record.lost_before + 1 >= options_.timing.max_attempts) return false;
  Build& build = *task.build;
  Node& node = build.nodes.at(task.record.node);
  std::vector<model::TaskId> lost = lost_before(task);
  lost.push_back(task.record.id);
  if (workers_to_avoid(node, std::move(lost)).empty()) return false;
  Task& fresh = add_attempt(build, node, task.record.attempt + 1, moment, {has_terminal(task)});
  fresh.record.triggered = task.record.triggered;
  fresh.record.lost_before = task.record.lost_before + 1;
  finish(task, model::TaskStatus::Aborted,
         fmt::format("worker '{}' could not run it ({}); another one does as task {}",
                     task.record.worker, why, fresh.record.id),
         moment);
  // Without TaskStarted there will be no TaskStopped either.
  if (never_started) release_worker(task, moment);
  log_warning("task runs elsewhere",
              {{"task", task.record.id}, {"as", fresh.record.id}, {"why", why}});
  return true;
}

}  // namespace cirrus::controller::core
