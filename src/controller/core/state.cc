// SPDX-License-Identifier: MIT
#include "controller/core/state.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"

namespace cirrus::controller::core {

namespace {
constexpr const char* kSessionKey = "session-key";
}  // namespace

State::State(StateOptions options, store::Loaded loaded, Moment moment)
    : options_(std::move(options)), started_(moment.now) {
  load(std::move(loaded), moment);
}

void State::load(store::Loaded loaded, Moment moment) {
  last_build_id_ = loaded.last_build_id;
  last_task_id_ = loaded.last_task_id;
  const auto key = loaded.settings.find(kSessionKey);
  if (key != loaded.settings.end()) {
    session_key_ = Secret(key->second);
  } else {
    session_key_ = Secret(options_.make_secret());
    changes_.settings.emplace_back(kSessionKey, session_key_.reveal());
  }
  for (store::PoolRecord& pool : loaded.pools) pools_[pool.name] = std::move(pool);
  for (store::RegistrationTokenRecord& token : loaded.registration_tokens) {
    registration_token_by_hash_[token.hash] = token.id;
    registration_tokens_[token.id] = std::move(token);
  }
  for (store::ApiTokenRecord& token : loaded.api_tokens) {
    api_token_by_hash_[token.hash] = token.id;
    api_tokens_[token.id] = std::move(token);
  }
  for (store::WorkerRecord& record : loaded.workers) {
    Worker& worker = worker_at({record.pool, record.name}, moment);
    worker.record = std::move(record);
    publish(worker);
  }
  for (store::BuildRows& rows : loaded.builds) load_build(std::move(rows), moment);
  changes_.workers.clear();  // worker_at noted them as new
}

void State::load_build(store::BuildRows rows, Moment moment) {
  const model::BuildId id = rows.build.id;
  Build& build = builds_[id];
  build.record = std::move(rows.build);
  for (store::DefinitionRecord& definition : rows.definitions) {
    api::Task message;
    std::shared_ptr<const TaskSpec> spec;
    if (message.ParseFromString(definition.task)) {
      spec = read_task_spec(std::move(message), build.record);
    } else {
      auto unreadable = std::make_shared<TaskSpec>();
      unreadable->unrunnable = "the stored definition of this task cannot be read";
      spec = std::move(unreadable);
    }
    const int number = definition.node;
    build.nodes[number] = Node{std::move(definition), std::move(spec), {}};
  }
  for (store::TaskRecord& record : rows.tasks) {
    const auto node = build.nodes.find(record.node);
    if (node == build.nodes.end()) continue;
    const model::TaskId task_id = record.id;
    node->second.attempts.push_back(task_id);
    Task& task = tasks_[task_id];
    task.record = std::move(record);
    task.spec = node->second.spec;
    task.build = &build;
    task.last_heard = moment.now;
    task.maybe_ran = task.record.status == model::TaskStatus::Executing;
    task.confirmed = true;  // whatever was assigned before the restart was delivered, or is missed
    if (!task.record.clone_token.empty() && !model::is_final(task.record.status)) {
      clone_tokens_[task.record.clone_token] = task_id;
    }
    if (model::is_final(task.record.status) && !task.record.holds_worker) {
      task.gate->open = false;
    }
  }
  for (store::StepRecord& step : rows.steps) {
    const auto task = tasks_.find(step.task);
    if (task != tasks_.end()) task->second.steps.push_back(std::move(step));
  }
  std::erase_if(build.nodes, [](const auto& node) { return node.second.attempts.empty(); });
  for (auto& [number, node] : build.nodes) {
    std::sort(node.attempts.begin(), node.attempts.end());
    for (const model::TaskId task_id : node.attempts) {
      Task& task = tasks_.at(task_id);
      if (task.record.holds_worker) {
        Worker& worker = worker_at({task.record.pool, task.record.worker}, moment);
        worker.held.insert(task_id);
        active_.insert(task_id);
        scheduler_.book(task_id, worker.index, task.spec->demand.resources);
        if (model::is_final(task.record.status)) task.stop_wanted = true;
        const auto ran = std::chrono::milliseconds(
            std::max<std::int64_t>(0, moment.millis() - task.record.started_ms));
        task.deadline = moment.now + task.spec->timeout + options_.timing.deadline_margin -
                        (task.record.started_ms == 0
                             ? std::chrono::milliseconds(0)
                             : std::min<std::chrono::milliseconds>(ran, task.spec->timeout));
      }
      if (model::is_running(task.record.status)) take_lock(task);
    }
  }
  for (auto& [number, node] : build.nodes) {
    Task& task = current(node);
    if (task.record.status == model::TaskStatus::Ready) make_ready(task, moment);
  }
  if (model::is_final(build.record.status)) {
    finished_builds_.push_back(id);
  } else {
    advance(build, moment);
  }
}

State::Task* State::find_task(model::TaskId id) {
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : &found->second;
}

const State::Task* State::find_task(model::TaskId id) const {
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : &found->second;
}

State::Build* State::find_build(model::BuildId id) {
  const auto found = builds_.find(id);
  return found == builds_.end() ? nullptr : &found->second;
}

void State::touch(Task& task) {
  dirty_tasks_.insert(task.record.id);
  touch(*task.build);
}

void State::touch_steps(const Task& task) {
  dirty_steps_.insert(task.record.id);
  touch(*task.build);
}

void State::touch(Build& build) {
  dirty_builds_.insert(build.record.id);
}

void State::touch_lightly(Task& task) {
  light_tasks_.insert(task.record.id);
  touch(*task.build);
}

bool State::has_heavy_changes() const {
  return !changes_.empty() || !dirty_tasks_.empty() || !dirty_steps_.empty();
}

store::Changes State::take_changes() {
  dirty_tasks_.merge(light_tasks_);
  dirty_steps_.merge(light_steps_);
  light_tasks_.clear();
  light_steps_.clear();
  for (const model::TaskId id : dirty_tasks_) {
    if (const Task* task = find_task(id)) changes_.tasks.push_back(task->record);
  }
  for (const model::TaskId id : dirty_steps_) {
    if (const Task* task = find_task(id)) {
      changes_.steps.insert(changes_.steps.end(), task->steps.begin(), task->steps.end());
    }
  }
  notify_watchers();
  dirty_tasks_.clear();
  dirty_steps_.clear();
  evict_finished();
  return std::exchange(changes_, {});
}

void State::notify_watchers() {
  // Watchers are effects too: nobody hears of what is not durable.
  for (const model::BuildId id : dirty_builds_) {
    Build* build = find_build(id);
    if (build == nullptr) continue;
    std::erase_if(build->watchers, [](const auto& weak) { return weak.expired(); });
    for (const std::weak_ptr<BuildWatcher>& weak : build->watchers) {
      effects_.push_back([weak](const Error*) {
        if (const auto watcher = weak.lock()) (*watcher)();
      });
    }
  }
  dirty_builds_.clear();
}

std::vector<State::Effect> State::take_effects() {
  notify_watchers();
  return std::exchange(effects_, {});
}

std::vector<State::Effect> State::take_hints() {
  return std::exchange(hints_, {});
}

std::vector<State::Effect> State::abandon() {
  answer_all_polls();
  std::vector<Effect> all = take_hints();
  for (Effect& effect : take_effects()) all.push_back(std::move(effect));
  return all;
}

void State::evict_finished() {
  std::size_t looked_at = finished_builds_.size();
  while (finished_builds_.size() > options_.timing.finished_builds_kept && looked_at-- > 0) {
    const model::BuildId id = finished_builds_.front();
    finished_builds_.pop_front();
    const auto found = builds_.find(id);
    if (found == builds_.end()) continue;
    if (in_use(found->second)) {
      if (model::is_final(found->second.record.status)) finished_builds_.push_back(id);
      continue;
    }
    forget_build(id);
  }
}

bool State::in_use(const Build& build) const {
  if (!model::is_final(build.record.status)) return true;
  return std::any_of(build.nodes.begin(), build.nodes.end(), [&](const auto& node) {
    return std::any_of(node.second.attempts.begin(), node.second.attempts.end(),
                       [&](model::TaskId task) { return active_.contains(task); });
  });
}

void State::forget_build(model::BuildId id) {
  const auto found = builds_.find(id);
  if (found == builds_.end()) return;
  for (const auto& [number, node] : found->second.nodes) {
    for (const model::TaskId task : node.attempts) {
      clone_tokens_.erase(tasks_.at(task).record.clone_token);
      tasks_.erase(task);
    }
  }
  builds_.erase(found);
}

void State::watch_build(model::BuildId id, std::weak_ptr<BuildWatcher> watcher) {
  if (Build* build = find_build(id)) build->watchers.push_back(std::move(watcher));
}

}  // namespace cirrus::controller::core
