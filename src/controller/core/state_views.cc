// SPDX-License-Identifier: MIT
// What people are shown.
#include <algorithm>

#include "controller/core/state.h"

namespace cirrus::controller::core {

namespace {
bool is_log_final(const store::TaskRecord& task, model::StepStatus step, bool background) {
  if (model::is_final(task.status)) {
    // A cancelled task may still say something while it is stopped.
    return !task.holds_worker || task.status != model::TaskStatus::Aborted;
  }
  return model::is_final(step) && !background;
}

TaskView basic_view(const store::TaskRecord& record, const TaskSpec& spec,
                    const std::vector<store::StepRecord>& steps) {
  TaskView view;
  view.id = record.id;
  view.build = record.build;
  view.name = spec.name;
  view.status = record.status;
  view.allow_failures = spec.allow_failures;
  view.worker = record.worker;
  view.reason = record.reason;
  view.created_ms = record.created_ms;
  view.started_ms = record.started_ms;
  view.finished_ms = record.finished_ms;
  view.attempt = record.attempt;
  for (const store::StepRecord& step : steps) {
    const auto index = static_cast<std::size_t>(step.index);
    const bool background = index < spec.steps.size() && spec.steps[index].background;
    view.steps.push_back(
        {step.name, step.status, step.duration_ns, is_log_final(record, step.status, background)});
  }
  return view;
}
}  // namespace

TaskView State::view(const Task& task) const {
  TaskView view = basic_view(task.record, *task.spec, task.steps);
  const Build& build = *task.build;
  const Node& node = build.nodes.at(task.record.node);
  view.repository = build.record.repository;
  view.current = node.attempts.back() == task.record.id;
  view.unreachable = task.unreachable;
  for (const int required : node.definition.depends_on) {
    view.depends_on.push_back(build.nodes.at(required).attempts.back());
  }
  using Kind = model::WaitingReason::Kind;
  const auto add = [&](Kind kind, std::string text, model::TaskId about = {}) {
    model::WaitingReason reason;
    reason.kind = kind;
    reason.text = std::move(text);
    reason.task = about;
    view.waiting_reasons.push_back(std::move(reason));
  };
  if (task.record.status == model::TaskStatus::Created) {
    view.manual = task.spec->manual && !task.record.triggered;
    for (const int required : node.definition.depends_on) {
      const Task& other = current(build.nodes.at(required));
      if (!model::is_final(other.record.status)) {
        add(Kind::DependsOn,
            fmt::format("it depends on task '{}' ({})", other.spec->name, other.record.id),
            other.record.id);
      }
    }
    if (view.manual) add(Kind::Manual, "it waits to be triggered by hand");
  } else if (task.record.status == model::TaskStatus::Ready) {
    const auto line = locks_.find(build.record.repository + "\n" + task.spec->execution_lock);
    if (!task.spec->execution_lock.empty() && line != locks_.end() &&
        line->second.front() != task.record.id) {
      add(Kind::Lock,
          fmt::format("lock '{}' is held by task {}", task.spec->execution_lock,
                      line->second.front()),
          line->second.front());
      view.waiting_reasons.back().label = task.spec->execution_lock;
    } else {
      view.waiting_reasons = scheduler_.reasons(task.record.id);
    }
  } else if (task.unreachable) {
    add(Kind::Unreachable,
        fmt::format("worker '{}' is not heard of at the moment", task.record.worker));
    view.waiting_reasons.back().worker = task.record.worker;
  }
  return view;
}

Result<BuildView> State::view_build(model::BuildId id) const {
  const auto found = builds_.find(id);
  if (found == builds_.end()) return error(Code::NotFound, "no build {}", id);
  BuildView shown;
  shown.record = found->second.record;
  for (const auto& [number, node] : found->second.nodes) shown.tasks.push_back(view(current(node)));
  return shown;
}

Result<TaskView> State::view_task(model::TaskId id) const {
  const Task* const task = find_task(id);
  if (task == nullptr) return error(Code::NotFound, "no task {}", id);
  return view(*task);
}

BuildView State::view_of_rows(const store::BuildRows& rows) {
  BuildView shown;
  shown.record = rows.build;
  std::map<int, const store::TaskRecord*> latest;
  for (const store::TaskRecord& task : rows.tasks) {
    const store::TaskRecord*& known = latest[task.node];
    if (known == nullptr || known->id < task.id) known = &task;
  }
  for (const store::DefinitionRecord& definition : rows.definitions) {
    const auto found = latest.find(definition.node);
    if (found == latest.end()) continue;
    api::Task message;
    if (!message.ParseFromString(definition.task)) continue;
    const auto spec = read_task_spec(std::move(message), rows.build);
    for (const store::TaskRecord& task : rows.tasks) {
      if (task.node != definition.node) continue;
      std::vector<store::StepRecord> steps;
      for (const store::StepRecord& step : rows.steps) {
        if (step.task == task.id) steps.push_back(step);
      }
      TaskView view = basic_view(task, *spec, steps);
      view.repository = rows.build.repository;
      view.current = found->second->id == task.id;
      for (const int required : definition.depends_on) {
        const auto other = latest.find(required);
        if (other != latest.end()) view.depends_on.push_back(other->second->id);
      }
      shown.tasks.push_back(std::move(view));
    }
  }
  return shown;
}

std::vector<WorkerView> State::view_workers(Moment moment) const {
  std::vector<WorkerView> views;
  for (const auto& [key, worker] : workers_) {
    WorkerView view;
    view.pool = key.first;
    view.name = key.second;
    view.disabled = worker.record.disabled;
    view.draining = worker.draining;
    view.connected = worker.polled && !worker.silent;
    view.state = !worker.polled           ? "never seen"
                 : worker.silent          ? "silent"
                 : worker.record.disabled ? "paused"
                 : worker.held.empty()    ? "idle"
                                          : "busy";
    view.instance = worker.record.instance;
    view.labels = worker.record.labels;
    view.resources = worker.record.resources;
    view.tasks.assign(worker.held.begin(), worker.held.end());
    for (const model::TaskId id : worker.held) {
      const Task* const task = find_task(id);
      if (task == nullptr) continue;
      for (const auto& [name, amount] : task->spec->demand.resources) {
        view.resources_in_use[name] += amount;
      }
    }
    if (worker.polled) {
      view.last_seen_ago_ms =
          std::chrono::duration_cast<std::chrono::milliseconds>(moment.now - worker.last_poll)
              .count();
    }
    view.conflict = worker.conflict;
    views.push_back(std::move(view));
  }
  return views;
}

PoolView State::view_of_pool(const store::PoolRecord& pool) const {
  PoolView view;
  view.record = pool;
  for (auto at = workers_.lower_bound({pool.name, ""});
       at != workers_.end() && at->first.first == pool.name; ++at) {
    ++view.workers;
    if (at->second.polled && !at->second.silent) ++view.connected;
  }
  return view;
}

std::vector<PoolView> State::view_pools(const std::string& after, std::size_t most) const {
  std::vector<PoolView> views;
  for (auto at = pools_.upper_bound(after); at != pools_.end() && views.size() < most; ++at) {
    views.push_back(view_of_pool(at->second));
  }
  return views;
}

Result<PoolView> State::view_pool(const std::string& name) const {
  const auto found = pools_.find(name);
  if (found == pools_.end()) return error(Code::NotFound, "no pool '{:.128}'", name);
  return view_of_pool(found->second);
}

}  // namespace cirrus::controller::core
