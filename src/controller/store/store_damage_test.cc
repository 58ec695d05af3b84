// SPDX-License-Identifier: MIT
// T17: torn and damaged files. What a crash leaves recovers to the last commit; what a disk
// destroyed is refused with a way out.
#include <fstream>

#include <gtest/gtest.h>

#include "base/log.h"
#include "controller/store/sqlite_backup.h"
#include "controller/store/sqlite_database.h"
#include "controller/store/sqlite_store.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller::store {

namespace {
constexpr std::size_t kWalHeader = 32;
constexpr std::size_t kFrame = 24 + 4096;

std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void spill(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

Changes setting(int value) {
  Changes changes;
  changes.settings = {{"value", std::to_string(value)}};
  // Rows in several tables, so that a commit spans several pages.
  changes.pools = {{"pool-" + std::to_string(value), true, false, value}};
  changes.audit = {{value, "a", "b", std::string(600, 'x')}};
  return changes;
}

/// A store as a crash leaves it: its file, its log, and how long the log was after each commit.
struct Crashed {
  std::string database;
  std::string log;
  std::vector<std::size_t> commits;
};

Crashed make_crashed() {
  const os::TempDir directory = os::TempDir::create("store-damage").value();
  const auto path = directory.path() / "c.db";
  const auto store = open_sqlite_store(path, Durability::ProcessCrash).value();
  Crashed made;
  for (int value = 1; value <= 4; ++value) {
    EXPECT_TRUE(store->apply(setting(value)).ok());
    made.commits.push_back(
        static_cast<std::size_t>(std::filesystem::file_size(directory.path() / "c.db-wal")));
  }
  made.database = slurp(path);
  made.log = slurp(directory.path() / "c.db-wal");
  return made;
}

/// The value of the last commit that is whole in the first `bytes` of the log; 0: none.
int expected(const Crashed& crashed, std::size_t bytes) {
  int value = 0;
  for (const std::size_t end : crashed.commits) {
    if (end <= bytes) ++value;
  }
  return value;
}

void expect_value(const os::TempDir& directory, const Crashed& crashed, std::string_view log,
                  int value) {
  const auto path = directory.path() / "c.db";
  std::error_code ignored;
  std::filesystem::remove(directory.path() / "c.db-shm", ignored);
  spill(path, crashed.database);
  spill(directory.path() / "c.db-wal", log);
  const auto store = open_sqlite_store(path, Durability::ProcessCrash);
  ASSERT_TRUE(store.ok()) << store.error().to_string();
  const Result<Loaded> loaded = store.value()->load();
  ASSERT_TRUE(loaded.ok()) << loaded.error().to_string();
  const auto found = loaded.value().settings.find("value");
  ASSERT_EQ(found == loaded.value().settings.end() ? 0 : std::stoi(found->second), value);
  // All of that commit, and nothing of the next.
  ASSERT_EQ(loaded.value().pools.size(), static_cast<std::size_t>(value));
  AuditQuery query;
  ASSERT_EQ(store.value()->list_audit(query).value().size(), static_cast<std::size_t>(value));
}

/// Every byte around the borders of frames, and a stride that meets all alignments between.
std::vector<std::size_t> cuts(const Crashed& crashed) {
  std::vector<std::size_t> places;
  const std::size_t begin = crashed.commits.front() - kFrame;
  for (std::size_t at = begin; at <= crashed.log.size(); ++at) {
    const std::size_t in_frame = (at - kWalHeader) % kFrame;
    if (in_frame < 32 || in_frame > kFrame - 8 || at % 251 == 0) places.push_back(at);
  }
  return places;
}
}  // namespace

TEST(T17_StoreDamage, ALogCutAtAnyByteRecoversToTheLastCommit) {
  set_log_level(LogLevel::Error);
  const Crashed crashed = make_crashed();
  const os::TempDir directory = os::TempDir::create("store-damage").value();
  for (const std::size_t at : cuts(crashed)) {
    SCOPED_TRACE(at);
    expect_value(directory, crashed, std::string_view(crashed.log).substr(0, at),
                 expected(crashed, at));
    if (HasFatalFailure()) return;
  }
}

TEST(T17_StoreDamage, ALogThatEndsInRubbishRecoversToTheLastCommit) {
  const Crashed crashed = make_crashed();
  const os::TempDir directory = os::TempDir::create("store-damage").value();
  for (const std::size_t at : cuts(crashed)) {
    if (at % 7 != 0) continue;
    SCOPED_TRACE(at);
    // A torn write: blocks that were never written hold what was there before.
    std::string torn = crashed.log.substr(0, at);
    torn.resize(crashed.log.size() + kFrame, at % 2 == 0 ? '\0' : '\x5a');
    const bool same = torn.compare(0, crashed.log.size(), crashed.log) == 0;
    std::size_t whole = at;
    while (whole < crashed.log.size() && torn[whole] == crashed.log[whole]) ++whole;
    expect_value(directory, crashed, torn, expected(crashed, same ? torn.size() : whole));
    if (HasFatalFailure()) return;
  }
}

TEST(T17_StoreDamage, ADestroyedPageIsRefusedWithTheRepairCommand) {
  const os::TempDir directory = os::TempDir::create("store-damage").value();
  const auto path = directory.path() / "c.db";
  {
    const auto store = open_sqlite_store(path, Durability::ProcessCrash).value();
    for (int value = 1; value <= 200; ++value) ASSERT_TRUE(store->apply(setting(value)).ok());
  }
  const std::string sound = slurp(path);
  std::error_code ignored;
  int refused = 0;
  for (std::size_t page = 0; page < sound.size() / 4096; ++page) {
    SCOPED_TRACE(page);
    std::string damaged = sound;
    damaged.replace(page * 4096, 4096, std::string(4096, '\xff'));
    std::filesystem::remove(directory.path() / "c.db-wal", ignored);
    std::filesystem::remove(directory.path() / "c.db-shm", ignored);
    spill(path, damaged);
    const auto opened = open_sqlite_store(path, Durability::ProcessCrash);
    ASSERT_FALSE(opened.ok());
    ASSERT_EQ(opened.error().code(), Code::DataLoss) << opened.error().to_string();
    ASSERT_NE(opened.error().message().find("'.recover'"), std::string::npos);
    const auto checked = check_sqlite_store(path);
    ASSERT_TRUE(checked.ok() ? !checked.value().empty() : checked.error().code() == Code::DataLoss);
    ++refused;
  }
  EXPECT_GT(refused, 30);
  std::filesystem::remove(directory.path() / "c.db-wal", ignored);
  std::filesystem::remove(directory.path() / "c.db-shm", ignored);
  spill(path, sound);
  const auto whole = check_sqlite_store(path);
  ASSERT_TRUE(whole.ok()) << whole.error().to_string();
  EXPECT_TRUE(whole.value().empty()) << whole.value().front();
  EXPECT_FALSE(check_sqlite_store(directory.path() / "none").ok());
}

TEST(T17_StoreDamage, AStoreTooLargeForTheTimeIsCheckedAsFarAsItGets) {
  const os::TempDir directory = os::TempDir::create("store-damage").value();
  Database database = Database::open(directory.path() / "c.db", Database::Mode::ReadWrite).value();
  ASSERT_TRUE(database
                  .execute("CREATE TABLE t (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
                           "i + 1 FROM n WHERE i < 50000) INSERT INTO t SELECT i FROM n")
                  .ok());
  ManualClock stopped;
  EXPECT_FALSE(database.check(std::chrono::milliseconds(0), stopped).value());
  EXPECT_TRUE(database.check(std::chrono::milliseconds(1), stopped).value());
}

}  // namespace cirrus::controller::store
