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

void MemoryStore::fail_with(std::function<Status()> hook) {
  rows_.with([&](Rows& rows) { rows.hook = std::move(hook); });
}

int MemoryStore::commits() const {
  return rows_.with([](const Rows& rows) { return rows.commits; });
}

}  // namespace cirrus::controller::store
