// SPDX-License-Identifier: MIT
#include "controller/store/sqlite_backup.h"

#include <fcntl.h>

#include <memory>

#include <sqlite3.h>

#include "controller/store/sqlite_database.h"
#include "controller/store/sqlite_schema.h"
#include "controller/store/sqlite_store.h"
#include "os/fd.h"

namespace cirrus::controller::store {

namespace {
struct Close {
  void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
};
using Connection = std::unique_ptr<sqlite3, Close>;

Result<Connection> open(const std::filesystem::path& path, int flags) {
  sqlite3* raw = nullptr;
  const int result = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  Connection connection(raw);
  if (result != SQLITE_OK) {
    return error(Code::DataLoss, "cannot open '{}': {}", path.string(),
                 raw == nullptr ? "no memory" : sqlite3_errmsg(raw));
  }
  sqlite3_busy_timeout(raw, 10'000);
  return connection;
}
}  // namespace

Status copy_sqlite_store(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code failure;
  if (!std::filesystem::exists(from, failure)) {
    return error(Code::NotFound, "there is no store at '{}'", from.string());
  }
  // Made by us first, so that it is ours alone from the start.
  { const os::Fd made = CIRRUS_TRY(os::open_file(to, O_WRONLY | O_CREAT | O_EXCL, 0600)); }
  const Connection source = CIRRUS_TRY(open(from, SQLITE_OPEN_READWRITE));
  const Connection target = CIRRUS_TRY(open(to, SQLITE_OPEN_READWRITE));
  sqlite3_backup* const backup = sqlite3_backup_init(target.get(), "main", source.get(), "main");
  if (backup == nullptr) {
    return error(Code::Unavailable, "cannot back the store up: {}", sqlite3_errmsg(target.get()));
  }
  // In one step: a backup in pieces starts over with each commit of the controller, and in WAL mode
  // reading does not hold it up.
  const int stepped = sqlite3_backup_step(backup, -1);
  sqlite3_backup_finish(backup);
  if (stepped != SQLITE_DONE) {
    return error(Code::Unavailable, "cannot back the store up: {}", sqlite3_errstr(stepped));
  }
  return {};
}

static Result<std::vector<std::string>> look_through(const std::filesystem::path& path) {
  Database database = CIRRUS_TRY(Database::open(path, Database::Mode::ReadOnly));
  std::vector<std::string> faults;
  {
    Statement version = CIRRUS_TRY(database.prepare("SELECT version FROM schema_version"));
    const std::int64_t number = CIRRUS_TRY(version.step()) ? version.next_int() : 0;
    if (number > current_schema_version()) {
      return error(Code::FailedPrecondition,
                   "the store has schema version {}, this program knows up to {}", number,
                   current_schema_version());
    }
  }
  const auto collect = [&](const char* sql, const char* sentence) -> Status {
    Statement rows = CIRRUS_TRY(database.prepare(sql));
    while (CIRRUS_TRY(rows.step())) {
      const std::string found = rows.next_text();
      if (found != "ok") faults.push_back(fmt::format(fmt::runtime(sentence), found));
      if (faults.size() >= 100) break;
    }
    return {};
  };
  CIRRUS_TRY(collect("PRAGMA integrity_check(50)", "store: {}"));
  if (!faults.empty()) {  // what the rows say means nothing then
    faults.push_back(damaged_store(path, error(Code::DataLoss, "see above")).message());
    return faults;
  }
  // What the program itself never writes.
  CIRRUS_TRY(
      collect("SELECT CAST(id AS TEXT) FROM tasks WHERE build NOT IN (SELECT id FROM builds)",
              "task {} belongs to no build"));
  CIRRUS_TRY(
      collect("SELECT DISTINCT CAST(task AS TEXT) FROM steps WHERE task NOT IN "
              "(SELECT id FROM tasks)",
              "steps of task {}, which there is not"));
  CIRRUS_TRY(
      collect("SELECT CAST(t.id AS TEXT) FROM tasks t WHERE NOT EXISTS (SELECT 1 FROM "
              "definitions d WHERE d.build = t.build AND d.node = t.node)",
              "task {} has no definition"));
  return faults;
}

Result<std::vector<std::string>> check_sqlite_store(const std::filesystem::path& path) {
  Result<std::vector<std::string>> found = look_through(path);
  if (!found.ok() && found.error().code() == Code::DataLoss) {
    return damaged_store(path, found.error());
  }
  return found;
}

}  // namespace cirrus::controller::store
