// SPDX-License-Identifier: MIT
// Finished builds that go: the SQL of it.
#pragma once

#include <optional>
#include <vector>

#include "controller/store/records.h"
#include "controller/store/sqlite_database.h"

namespace cirrus::controller::store {

/// The statements that remove a build; prepared once.
class RemovalWriter {
 public:
  static Result<RemovalWriter> create(Database& database);
  /// Every row of the build goes, and `build` stays in its place. Inside a transaction.
  Status write(const RemovedBuildRecord& build);

 private:
  RemovalWriter(Statement steps, Statement tasks, Statement definitions, Statement build,
                Statement record)
      : steps_(std::move(steps)),
        tasks_(std::move(tasks)),
        definitions_(std::move(definitions)),
        build_(std::move(build)),
        record_(std::move(record)) {}
  Statement steps_;
  Statement tasks_;
  Statement definitions_;
  Statement build_;
  Statement record_;
};

// As Store says.
Result<std::vector<RemovedBuildRecord>> list_removable(Database& database,
                                                       const RemovalQuery& query);
Result<std::optional<RemovedBuildRecord>> read_removed(Database& database, model::BuildId id);
Result<std::vector<RemovedBuildRecord>> list_unswept(Database& database, model::BuildId after,
                                                     int limit);
Result<bool> was_removed(Database& database, model::TaskId id);
Result<RemovalSummary> removals(Database& database);

}  // namespace cirrus::controller::store
