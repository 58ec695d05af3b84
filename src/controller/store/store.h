// SPDX-License-Identifier: MIT
// Durable rows of the controller.
#pragma once

#include <optional>
#include <vector>

#include "base/result.h"
#include "controller/store/records.h"

namespace cirrus::controller::store {

/// Purpose: everything the controller must remember over a crash, except bytes of logs.
/// Call order: `load` once, then `apply` any number of times; reads at any time.
/// Threads: `load` and `apply` from the state loop only; reads from any thread, also meanwhile.
/// Errors: Unavailable or ResourceExhausted if nothing was written (may be tried again), DataLoss
/// if what is stored cannot be understood. An error of `apply` means that no part was written.
class Store {
 public:
  virtual ~Store() = default;

  /// Everything needed to go on after a restart. O(unfinished work), not O(history).
  virtual Result<Loaded> load() = 0;
  /// Writes all of `changes` or nothing; durable when it returns.
  virtual Status apply(const Changes& changes) = 0;

  /// A build with its tasks and steps; nullopt if there is none of that id.
  virtual Result<std::optional<BuildRows>> read_build(model::BuildId id) = 0;
  /// The build a task belongs to; nullopt if there is no such task.
  virtual Result<std::optional<model::BuildId>> build_of(model::TaskId id) = 0;
  /// One attempt; nullopt if there is none of that id.
  virtual Result<std::optional<TaskRecord>> read_task(model::TaskId id) = 0;
  /// Newest first, ids below `before` (0: from the newest), at most `limit`.
  virtual Result<std::vector<model::BuildId>> list_builds(std::int64_t before, int limit) = 0;
  /// The newest build of a branch that completed, has a commit and is trusted; nullopt: none is
  /// kept.
  virtual Result<std::optional<GreenBuild>> last_green(const std::string& repository,
                                                       const std::string& branch) = 0;
  /// Newest first.
  virtual Result<std::vector<AuditRecord>> list_audit(const AuditQuery& query) = 0;

  /// Builds that may be removed, with all their tasks: the longest finished first, or the lowest id
  /// first if the query says how many are kept. `removed_ms` and `why` are for the caller to fill.
  virtual Result<std::vector<RemovedBuildRecord>> list_removable(const RemovalQuery& query) = 0;
  /// nullopt: no such build was removed.
  virtual Result<std::optional<RemovedBuildRecord>> read_removed(model::BuildId id) = 0;
  /// Removed builds with bytes that have yet to go, ids above `after`, by id.
  virtual Result<std::vector<RemovedBuildRecord>> list_unswept(model::BuildId after, int limit) = 0;
  /// True: there was a task of that id, and it was removed with its build.
  virtual Result<bool> was_removed(model::TaskId id) = 0;
  /// O(removed builds).
  virtual Result<RemovalSummary> removals() = 0;
};

}  // namespace cirrus::controller::store
