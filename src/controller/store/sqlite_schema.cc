// SPDX-License-Identifier: MIT
#include "controller/store/sqlite_schema.h"

#include <iterator>

#include "base/fail_point.h"

namespace cirrus::controller::store {

namespace {
/// Step N brings version N to N+1. Never edit one that was released: add another.
constexpr const char* kMigrations[] = {
    R"sql(
CREATE TABLE settings (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE pools (name TEXT PRIMARY KEY, hold INTEGER NOT NULL, paused INTEGER NOT NULL,
  lost_after_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE registration_tokens (id TEXT PRIMARY KEY, pool TEXT NOT NULL, hash TEXT NOT NULL,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL)
  WITHOUT ROWID;
CREATE TABLE api_tokens (id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL,
  hash TEXT NOT NULL, created_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE workers (pool TEXT NOT NULL, name TEXT NOT NULL, instance TEXT NOT NULL,
  disabled INTEGER NOT NULL, labels BLOB NOT NULL, resources BLOB NOT NULL,
  first_seen_ms INTEGER NOT NULL, PRIMARY KEY (pool, name)) WITHOUT ROWID;
CREATE TABLE builds (id INTEGER PRIMARY KEY, repository TEXT NOT NULL, branch TEXT NOT NULL,
  commit_id TEXT NOT NULL, message TEXT NOT NULL, environment BLOB NOT NULL,
  priority INTEGER NOT NULL, status INTEGER NOT NULL, created_ms INTEGER NOT NULL,
  finished_ms INTEGER NOT NULL, issues BLOB NOT NULL);
CREATE INDEX builds_open ON builds (id) WHERE status < 2;
CREATE TABLE definitions (build INTEGER NOT NULL, node INTEGER NOT NULL, depends_on TEXT NOT NULL,
  task BLOB NOT NULL, PRIMARY KEY (build, node)) WITHOUT ROWID;
CREATE TABLE tasks (id INTEGER PRIMARY KEY, build INTEGER NOT NULL, node INTEGER NOT NULL,
  attempt INTEGER NOT NULL, status INTEGER NOT NULL, reason TEXT NOT NULL, pool TEXT NOT NULL,
  worker TEXT NOT NULL, holds_worker INTEGER NOT NULL, triggered INTEGER NOT NULL,
  client_secret TEXT NOT NULL, server_secret TEXT NOT NULL, clone_token TEXT NOT NULL,
  created_ms INTEGER NOT NULL, assigned_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL,
  finished_ms INTEGER NOT NULL);
CREATE INDEX tasks_by_build ON tasks (build);
CREATE INDEX tasks_held ON tasks (build) WHERE holds_worker = 1;
CREATE TABLE steps (task INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL,
  status INTEGER NOT NULL, duration_ns INTEGER NOT NULL, PRIMARY KEY (task, position))
  WITHOUT ROWID;
CREATE TABLE audit (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, actor TEXT NOT NULL,
  action TEXT NOT NULL, subject TEXT NOT NULL);
)sql",
    // What tokens may do, where caches go, and lost attempts apart from failed ones. Tokens made
    // before could do everything, and still can.
    R"sql(
ALTER TABLE registration_tokens ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE registration_tokens ADD COLUMN worker_names TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN repositories BLOB NOT NULL DEFAULT '1:*';
ALTER TABLE api_tokens ADD COLUMN trusted INTEGER NOT NULL DEFAULT 1;
ALTER TABLE builds ADD COLUMN cache_space TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN lost_before INTEGER NOT NULL DEFAULT 0;
)sql",
    // Finished builds may go; what stands in their place, and how to find those that may.
    R"sql(
CREATE TABLE removed_builds (id INTEGER PRIMARY KEY, repository TEXT NOT NULL,
  removed_ms INTEGER NOT NULL, why TEXT NOT NULL, tasks BLOB NOT NULL,
  last_task INTEGER NOT NULL);
CREATE INDEX removed_unswept ON removed_builds (id) WHERE length(tasks) > 0;
CREATE INDEX builds_finished ON builds (finished_ms) WHERE status >= 2;
CREATE INDEX builds_completed ON builds (repository, branch, id) WHERE status = 2;
)sql",
    // What pools let untrusted builds do, and whose a build is. Before, untrusted builds were those
    // with caches of their own, named after the token.
    R"sql(
ALTER TABLE pools ADD COLUMN untrusted_isolations BLOB NOT NULL DEFAULT '3:any';
ALTER TABLE builds ADD COLUMN trusted INTEGER NOT NULL DEFAULT 1;
ALTER TABLE builds ADD COLUMN submitted_by TEXT NOT NULL DEFAULT '';
UPDATE builds SET trusted = 0, submitted_by = substr(cache_space, length('token-') + 1)
  WHERE length(cache_space) > 0;
)sql",
    // Whether pools keep what shells in their tasks show. Before, none did.
    R"sql(
ALTER TABLE pools ADD COLUMN record_shells INTEGER NOT NULL DEFAULT 0;
)sql",
};
}  // namespace

int current_schema_version() {
  return static_cast<int>(std::size(kMigrations));
}

Status migrate(Database& database, int up_to) {
  // The version is a table and not a pragma, so that every implementation can have the same.
  CIRRUS_TRY(
      database.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"));
  int version = 0;
  {
    Statement read = CIRRUS_TRY(database.prepare("SELECT version FROM schema_version"));
    if (CIRRUS_TRY(read.step())) version = static_cast<int>(read.next_int());
  }
  if (version > current_schema_version()) {
    return error(Code::FailedPrecondition,
                 "the store has schema version {}, this program knows up to {}: start the newer "
                 "program, or restore a back-up made before the upgrade",
                 version, current_schema_version());
  }
  for (; version < up_to; ++version) {
    CIRRUS_TRY(database.execute("BEGIN IMMEDIATE"));
    Status done = database.execute(kMigrations[version]);
    if (done.ok()) {
      done = database.execute(fmt::format(
          "DELETE FROM schema_version; INSERT INTO schema_version VALUES ({})", version + 1));
    }
    if (done.ok()) done = fail_point("store.migrate.written");
    if (done.ok()) done = database.execute("COMMIT");
    if (done.ok()) crash_point("store.migrate.committed");
    if (!done.ok()) {
      const Status undone = database.execute("ROLLBACK");
      return std::move(done).note("migrating the store to schema version {}{}", version + 1,
                                  undone.ok() ? "" : " (and rolling back failed)");
    }
  }
  return {};
}

}  // namespace cirrus::controller::store
