// SPDX-License-Identifier: MIT
#include "controller/store/memory_store.h"

#include <algorithm>

namespace cirrus::controller::store {

BuildRows MemoryStore::collect(const Rows& rows, const BuildRecord& build) {
  BuildRows found{build, {}, {}, {}};
  for (auto definition = rows.definitions.lower_bound({build.id, 0});
       definition != rows.definitions.end() && definition->first.first == build.id; ++definition) {
    found.definitions.push_back(definition->second);
  }
  const auto tasks = rows.tasks_of.find(build.id);
  if (tasks == rows.tasks_of.end()) return found;
  for (const model::TaskId id : tasks->second) {
    found.tasks.push_back(rows.tasks.at(id));
    for (auto step = rows.steps.lower_bound({id, 0});
         step != rows.steps.end() && step->first.first == id; ++step) {
      found.steps.push_back(step->second);
    }
  }
  return found;
}

Result<Loaded> MemoryStore::load() {
  return rows_.with([](const Rows& rows) {
    Loaded loaded;
    loaded.settings = rows.settings;
    for (const auto& [name, pool] : rows.pools) loaded.pools.push_back(pool);
    for (const auto& [id, token] : rows.registration_tokens) {
      loaded.registration_tokens.push_back(token);
    }
    for (const auto& [id, token] : rows.api_tokens) loaded.api_tokens.push_back(token);
    for (const auto& [key, worker] : rows.workers) loaded.workers.push_back(worker);
    for (const auto& entry_of_build : rows.builds) {
      const model::BuildId id = entry_of_build.first;
      const auto& build = entry_of_build.second;
      loaded.last_build_id = std::max(loaded.last_build_id, id.value);
      const auto tasks = rows.tasks_of.find(id);
      const bool held =
          tasks != rows.tasks_of.end() &&
          std::any_of(tasks->second.begin(), tasks->second.end(),
                      [&](model::TaskId task) { return rows.tasks.at(task).holds_worker; });
      if (!model::is_final(build.status) || held) loaded.builds.push_back(collect(rows, build));
    }
    for (const auto& [id, task] : rows.tasks) {
      loaded.last_task_id = std::max(loaded.last_task_id, id.value);
    }
    for (const auto& [id, build] : rows.removed) {
      loaded.last_build_id = std::max(loaded.last_build_id, id.value);
      loaded.last_task_id = std::max(loaded.last_task_id, build.last_task);
    }
    return loaded;
  });
}

Status MemoryStore::apply(const Changes& changes) {
  return rows_.with([&](Rows& rows) -> Status {
    if (rows.hook) CIRRUS_TRY(rows.hook());
    for (const auto& [key, value] : changes.settings) rows.settings[key] = value;
    for (const auto& pool : changes.pools) rows.pools[pool.name] = pool;
    for (const auto& token : changes.registration_tokens)
      rows.registration_tokens[token.id] = token;
    for (const auto& token : changes.api_tokens) rows.api_tokens[token.id] = token;
    for (const auto& worker : changes.workers) rows.workers[{worker.pool, worker.name}] = worker;
    for (const auto& build : changes.builds) rows.builds[build.id] = build;
    for (const auto& definition : changes.definitions) {
      rows.definitions[{definition.build, definition.node}] = definition;
    }
    for (const auto& task : changes.tasks) {
      rows.tasks[task.id] = task;
      rows.tasks_of[task.build].insert(task.id);
    }
    for (const auto& step : changes.steps) rows.steps[{step.task, step.index}] = step;
    for (const auto& entry : changes.audit) {
      rows.audit.push_back(entry);
      rows.audit.back().id = static_cast<std::int64_t>(rows.audit.size());
    }
    for (const auto& build : changes.removed_builds) remove(rows, build);
    ++rows.commits;
    return {};
  });
}

Result<std::optional<BuildRows>> MemoryStore::read_build(model::BuildId id) {
  return rows_.with([&](const Rows& rows) -> std::optional<BuildRows> {
    const auto found = rows.builds.find(id);
    if (found == rows.builds.end()) return std::nullopt;
    return collect(rows, found->second);
  });
}

Result<std::optional<model::BuildId>> MemoryStore::build_of(model::TaskId id) {
  return rows_.with([&](const Rows& rows) -> std::optional<model::BuildId> {
    const auto found = rows.tasks.find(id);
    if (found == rows.tasks.end()) return std::nullopt;
    return found->second.build;
  });
}

Result<std::optional<TaskRecord>> MemoryStore::read_task(model::TaskId id) {
  return rows_.with([&](const Rows& rows) -> std::optional<TaskRecord> {
    const auto found = rows.tasks.find(id);
    if (found == rows.tasks.end()) return std::nullopt;
    return found->second;
  });
}

Result<std::vector<model::BuildId>> MemoryStore::list_builds(std::int64_t before, int limit) {
  return rows_.with([&](const Rows& rows) {
    std::vector<model::BuildId> ids;
    for (auto build = rows.builds.rbegin(); build != rows.builds.rend(); ++build) {
      if (static_cast<int>(ids.size()) >= limit) break;
      if (before == 0 || build->first.value < before) ids.push_back(build->first);
    }
    return ids;
  });
}

Result<std::optional<GreenBuild>> MemoryStore::last_green(const std::string& repository,
                                                          const std::string& branch) {
  return rows_.with([&](const Rows& rows) -> std::optional<GreenBuild> {
    for (auto entry = rows.builds.rbegin(); entry != rows.builds.rend(); ++entry) {
      const BuildRecord& build = entry->second;
      if (build.status == model::BuildStatus::Completed && build.trusted && !build.commit.empty() &&
          build.repository == repository && build.branch == branch) {
        return GreenBuild{build.id, build.commit};
      }
    }
    return std::nullopt;
  });
}

Result<std::vector<AuditRecord>> MemoryStore::list_audit(const AuditQuery& query) {
  return rows_.with([&](const Rows& rows) {
    std::vector<AuditRecord> newest;
    for (auto entry = rows.audit.rbegin(); entry != rows.audit.rend(); ++entry) {
      if (static_cast<int>(newest.size()) >= query.limit) break;
      if (query.before != 0 && entry->id >= query.before) continue;
      if (!query.actor.empty() && entry->actor != query.actor) continue;
      if (!query.action.empty() && entry->action != query.action &&
          !entry->action.starts_with(query.action + ".")) {
        continue;
      }
      newest.push_back(*entry);
    }
    return newest;
  });
}

void MemoryStore::remove(Rows& rows, const RemovedBuildRecord& build) {
  const auto tasks = rows.tasks_of.find(build.id);
  if (tasks != rows.tasks_of.end()) {
    for (const model::TaskId task : tasks->second) {
      rows.tasks.erase(task);
      rows.steps.erase(rows.steps.lower_bound({task, 0}),
                       rows.steps.lower_bound({model::TaskId{task.value + 1}, 0}));
    }
    rows.tasks_of.erase(tasks);
  }
  rows.definitions.erase(rows.definitions.lower_bound({build.id, 0}),
                         rows.definitions.lower_bound({model::BuildId{build.id.value + 1}, 0}));
  rows.builds.erase(build.id);
  rows.removed[build.id] = build;
}

bool MemoryStore::may_go(const Rows& rows, const BuildRecord& build) {
  if (!model::is_final(build.status)) return false;
  const auto tasks = rows.tasks_of.find(build.id);
  if (tasks != rows.tasks_of.end()) {
    for (const model::TaskId id : tasks->second) {
      const TaskRecord& task = rows.tasks.at(id);
      const bool may_run =
          task.status == model::TaskStatus::Ready || model::is_running(task.status);
      if (task.holds_worker || may_run) return false;
    }
  }
  if (build.status != model::BuildStatus::Completed) return true;
  return std::any_of(rows.builds.upper_bound(build.id), rows.builds.end(), [&](const auto& newer) {
    return newer.second.status == model::BuildStatus::Completed &&
           newer.second.repository == build.repository && newer.second.branch == build.branch &&
           newer.second.trusted >= build.trusted &&
           (!newer.second.commit.empty() || build.commit.empty());
  });
}

Result<std::vector<RemovedBuildRecord>> MemoryStore::list_removable(const RemovalQuery& query) {
  return rows_.with([&](const Rows& rows) {
    std::vector<const BuildRecord*> found;
    auto rank = static_cast<std::int64_t>(rows.builds.size());
    for (const auto& [id, build] : rows.builds) {
      if (query.newest_kept > 0 && rank-- <= query.newest_kept) break;
      if (build.finished_ms < query.finished_before_ms && may_go(rows, build)) {
        found.push_back(&build);
      }
    }
    if (query.newest_kept == 0) {
      std::stable_sort(found.begin(), found.end(), [](const BuildRecord* a, const BuildRecord* b) {
        return a->finished_ms < b->finished_ms;
      });
    }
    const auto most = static_cast<std::size_t>(query.limit);
    if (found.size() > most) found.resize(most);
    std::vector<RemovedBuildRecord> removable;
    for (const BuildRecord* build : found) {
      RemovedBuildRecord record;
      record.id = build->id;
      record.repository = build->repository;
      const auto tasks = rows.tasks_of.find(build->id);
      if (tasks != rows.tasks_of.end()) {
        record.tasks.assign(tasks->second.begin(), tasks->second.end());
        record.last_task = record.tasks.back().value;
      }
      removable.push_back(std::move(record));
    }
    return removable;
  });
}

Result<std::optional<RemovedBuildRecord>> MemoryStore::read_removed(model::BuildId id) {
  return rows_.with([&](const Rows& rows) -> std::optional<RemovedBuildRecord> {
    const auto found = rows.removed.find(id);
    if (found == rows.removed.end()) return std::nullopt;
    return found->second;
  });
}

Result<std::vector<RemovedBuildRecord>> MemoryStore::list_unswept(model::BuildId after, int limit) {
  return rows_.with([&](const Rows& rows) {
    std::vector<RemovedBuildRecord> found;
    for (auto at = rows.removed.upper_bound(after); at != rows.removed.end(); ++at) {
      if (static_cast<int>(found.size()) >= limit) break;
      if (!at->second.tasks.empty()) found.push_back(at->second);
    }
    return found;
  });
}

Result<bool> MemoryStore::was_removed(model::TaskId id) {
  return rows_.with([&](const Rows& rows) {
    if (rows.tasks.contains(id)) return false;
    const bool later = rows.tasks.lower_bound(id) != rows.tasks.end();
    return later || std::any_of(rows.removed.begin(), rows.removed.end(), [&](const auto& build) {
             return build.second.last_task >= id.value;
           });
  });
}

Result<RemovalSummary> MemoryStore::removals() {
  return rows_.with([](const Rows& rows) {
    RemovalSummary summary;
    for (const auto& [id, build] : rows.removed) {
      ++summary.builds;
      if (build.removed_ms >= summary.last.removed_ms) summary.last = build;
    }
    return summary;
  });
}

void MemoryStore::fail_with(std::function<Status()> hook) {
  rows_.with([&](Rows& rows) { rows.hook = std::move(hook); });
}

int MemoryStore::commits() const {
  return rows_.with([](const Rows& rows) { return rows.commits; });
}

}  // namespace cirrus::controller::store
