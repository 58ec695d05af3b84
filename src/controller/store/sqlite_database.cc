// SPDX-License-Identifier: MIT
#include "controller/store/sqlite_database.h"

#include <system_error>

#include <sqlite3.h>

namespace cirrus::controller::store {

namespace {
Code code_of(int result) {
  switch (result & 0xff) {
    case SQLITE_FULL: return Code::ResourceExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return Code::DataLoss;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY: return Code::PermissionDenied;
    case SQLITE_CANTOPEN: return Code::NotFound;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR: return Code::Unavailable;
    default: return Code::Internal;
  }
}

/// What the system last refused to this connection's log, or else to its file; 0: nothing.
/// `sqlite3_system_errno` does not know it of a commit.
int last_errno(sqlite3* connection) {
  for (const int which : {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER}) {
    sqlite3_file* file = nullptr;
    int number = 0;
    if (sqlite3_file_control(connection, "main", which, &file) != SQLITE_OK) continue;
    if (file == nullptr || file->pMethods == nullptr) continue;
    file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &number);
    if (number != 0) return number;
  }
  return 0;
}

Error failure(sqlite3* connection, int result) {
  // "disk I/O error" is what SQLite calls whatever the system refused.
  if (const int reason = (result & 0xff) == SQLITE_IOERR ? last_errno(connection) : 0) {
    return error(code_of(result), "the store failed: {}: {}", sqlite3_errmsg(connection),
                 std::generic_category().message(reason));
  }
  return error(code_of(result), "the store failed: {}", sqlite3_errmsg(connection));
}
}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}
void Database::Close::operator()(sqlite3* connection) const {
  sqlite3_close_v2(connection);
}

Statement& Statement::reset() {
  sqlite3_reset(statement_.get());
  bound_ = 0;
  column_ = 0;
  return *this;
}

Statement& Statement::bind(std::int64_t value) {
  sqlite3_bind_int64(statement_.get(), ++bound_, value);
  return *this;
}

Statement& Statement::bind(std::string_view bytes) {
  // An empty view may have a null pointer, which would bind NULL.
  sqlite3_bind_blob64(statement_.get(), ++bound_, bytes.empty() ? "" : bytes.data(), bytes.size(),
                      SQLITE_TRANSIENT);
  return *this;
}

Result<bool> Statement::step() {
  column_ = 0;
  const int result = sqlite3_step(statement_.get());
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  Error why = failure(sqlite3_db_handle(statement_.get()), result);
  sqlite3_reset(statement_.get());
  return why;
}

Status Statement::run() {
  const Result<bool> row = step();
  if (!row.ok()) return row.error();
  reset();
  return {};
}

std::int64_t Statement::next_int() {
  return sqlite3_column_int64(statement_.get(), column_++);
}

std::string Statement::next_text() {
  const int column = column_++;
  const void* const bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  if (bytes == nullptr || size <= 0) return {};
  return std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

Result<Database> Database::open(const std::filesystem::path& path, Mode mode) {
  sqlite3* connection = nullptr;
  const int flags =
      SQLITE_OPEN_NOMUTEX |
      (mode == Mode::ReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  const int result = sqlite3_open_v2(path.c_str(), &connection, flags, nullptr);
  Database database(connection);
  if (result != SQLITE_OK) {
    Error why = connection != nullptr ? failure(connection, result)
                                      : error(Code::ResourceExhausted, "out of memory");
    why.add_note(fmt::format("opening {}", path.string()));
    return why;
  }
  sqlite3_extended_result_codes(connection, 1);
  sqlite3_busy_timeout(connection, 2000);
  return database;
}

Status Database::execute(const std::string& sql) {
  const int result = sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) return failure(connection_.get(), result);
  return {};
}

Result<bool> Database::check(std::chrono::milliseconds budget, const Clock& clock) {
  struct Limit {
    const Clock& clock;
    Monotonic end;
  } limit{clock, clock.now() + budget};
  const auto is_over = [](void* context) {
    const auto& known = *static_cast<const Limit*>(context);
    return known.clock.now() >= known.end ? 1 : 0;
  };
  // The callback comes every few thousand steps of SQLite's machine: some microseconds apart.
  sqlite3_progress_handler(connection_.get(), 10'000, is_over, &limit);
  const Result<bool> sound = [&]() -> Result<bool> {
    Statement statement = CIRRUS_TRY(prepare("PRAGMA quick_check(1)"));
    const Result<bool> row = statement.step();
    if (!row.ok()) {
      const int code = sqlite3_errcode(connection_.get()) & 0xff;
      if (code == SQLITE_INTERRUPT) return false;
      return row.error();
    }
    const std::string verdict = row.value() ? statement.next_text() : "ok";
    if (verdict != "ok") return error(Code::DataLoss, "the store failed its check: {}", verdict);
    return true;
  }();
  sqlite3_progress_handler(connection_.get(), 0, nullptr, nullptr);
  return sound;
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int result = sqlite3_prepare_v3(connection_.get(), sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (result != SQLITE_OK) return failure(connection_.get(), result);
  return Statement(statement);
}

}  // namespace cirrus::controller::store
