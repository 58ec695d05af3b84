// SPDX-License-Identifier: MIT
// SQLite's C interface as values: a connection and its prepared statements.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace cirrus::controller::store {

/// One prepared statement, used again and again: bind in order, step, read columns in order.
class Statement {
 public:
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  /// Start over: forgets bindings and rows.
  Statement& reset();
  Statement& bind(std::int64_t value);
  Statement& bind(std::string_view bytes);  ///< as a blob: any byte may occur
  /// True: a row is there. False: done. Errors: as Database::failure.
  Result<bool> step();
  /// Runs a statement that returns no rows, then resets it.
  Status run();
  std::int64_t next_int();
  std::string next_text();

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bound_ = 0;
  int column_ = 0;
};

/// One connection. Not thread-safe; statements must end before it.
class Database {
 public:
  enum class Mode { ReadWrite, ReadOnly };
  /// Errors: PermissionDenied, DataLoss (not a database, or damaged), Unavailable.
  static Result<Database> open(const std::filesystem::path& path, Mode mode);

  Status execute(const std::string& sql);
  /// Looks through every page for damage (not for wrong values), for at most `budget`. True: all of
  /// it is sound. False: sound as far as it got; the file is too large for the time.
  /// Errors: DataLoss, with the first thing that is wrong.
  Result<bool> check(std::chrono::milliseconds budget, const Clock& clock);
  Result<Statement> prepare(std::string_view sql);

 private:
  struct Close {
    void operator()(sqlite3* connection) const;
  };
  explicit Database(sqlite3* connection) : connection_(connection) {}
  std::unique_ptr<sqlite3, Close> connection_;
};

}  // namespace cirrus::controller::store
