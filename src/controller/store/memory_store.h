// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <map>
#include <set>

#include "base/guarded.h"
#include "controller/store/store.h"

namespace cirrus::controller::store {

/// Keeps everything in memory. Survives the objects that use it, so tests can "restart" on it.
class MemoryStore final : public Store {
 public:
  Result<Loaded> load() override;
  Status apply(const Changes& changes) override;
  Result<std::optional<BuildRows>> read_build(model::BuildId id) override;
  Result<std::optional<model::BuildId>> build_of(model::TaskId id) override;
  Result<std::optional<TaskRecord>> read_task(model::TaskId id) override;
  Result<std::vector<model::BuildId>> list_builds(std::int64_t before, int limit) override;
  Result<std::optional<GreenBuild>> last_green(const std::string& repository,
                                               const std::string& branch) override;
  Result<std::vector<AuditRecord>> list_audit(const AuditQuery& query) override;
  Result<std::vector<RemovedBuildRecord>> list_removable(const RemovalQuery& query) override;
  Result<std::optional<RemovedBuildRecord>> read_removed(model::BuildId id) override;
  Result<std::vector<RemovedBuildRecord>> list_unswept(model::BuildId after, int limit) override;
  Result<bool> was_removed(model::TaskId id) override;
  Result<RemovalSummary> removals() override;

  /// Called before each write; an error it returns is the result, and nothing is written.
  void fail_with(std::function<Status()> hook);
  /// Writes that succeeded.
  int commits() const;

 private:
  struct Rows {
    std::map<std::string, std::string> settings;
    std::map<std::string, PoolRecord> pools;
    std::map<std::string, RegistrationTokenRecord> registration_tokens;
    std::map<std::string, ApiTokenRecord> api_tokens;
    std::map<std::pair<std::string, std::string>, WorkerRecord> workers;
    std::map<model::BuildId, BuildRecord> builds;
    std::map<std::pair<model::BuildId, int>, DefinitionRecord> definitions;
    std::map<model::TaskId, TaskRecord> tasks;
    std::map<model::BuildId, std::set<model::TaskId>> tasks_of;
    std::map<std::pair<model::TaskId, int>, StepRecord> steps;
    std::vector<AuditRecord> audit;
    std::map<model::BuildId, RemovedBuildRecord> removed;
    std::function<Status()> hook;
    int commits = 0;
  };
  static BuildRows collect(const Rows& rows, const BuildRecord& build);
  static void remove(Rows& rows, const RemovedBuildRecord& build);
  static bool may_go(const Rows& rows, const BuildRecord& build);

  Guarded<Rows> rows_;
};

}  // namespace cirrus::controller::store
