// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "controller/store/field_codec.h"
#include "controller/store/memory_store.h"
#include "controller/store/sqlite_database.h"
#include "controller/store/sqlite_schema.h"
#include "controller/store/sqlite_store.h"
#include "controller/store/testing/store_contract.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller::store {

namespace {
class MemoryHarness final : public StoreHarness {
 public:
  Store& store() override { return store_; }
  void reopen() override {}

 private:
  MemoryStore store_;
};

class SqliteHarness final : public StoreHarness {
 public:
  SqliteHarness() : directory_(os::TempDir::create("store-test").value()) { reopen(); }
  Store& store() override { return *store_; }
  void reopen() override {
    store_.reset();
    auto opened = open_sqlite_store(directory_.path() / "controller.db");
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    store_ = std::move(opened).value();
  }

 private:
  os::TempDir directory_;
  std::unique_ptr<Store> store_;
};

INSTANTIATE_TEST_SUITE_P(Memory, StoreContract, testing::Values([] {
                           return std::unique_ptr<StoreHarness>(std::make_unique<MemoryHarness>());
                         }));
INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContract, testing::Values([] {
                           return std::unique_ptr<StoreHarness>(std::make_unique<SqliteHarness>());
                         }));
}  // namespace

TEST(SqliteStore, RefusesAStoreOfANewerProgram) {
  const os::TempDir directory = os::TempDir::create("store-test").value();
  const auto path = directory.path() / "controller.db";
  { ASSERT_TRUE(open_sqlite_store(path).ok()); }
  {
    Database database = Database::open(path, Database::Mode::ReadWrite).value();
    ASSERT_TRUE(database.execute("UPDATE schema_version SET version = 999").ok());
  }
  const auto opened = open_sqlite_store(path);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code(), Code::FailedPrecondition);
  EXPECT_NE(opened.error().message().find("schema version 999"), std::string::npos);
}

TEST(SqliteStore, TakesOverAStoreOfAnOlderProgram) {
  const os::TempDir directory = os::TempDir::create("store-test").value();
  const auto path = directory.path() / "controller.db";
  {
    Database database = Database::open(path, Database::Mode::ReadWrite).value();
    ASSERT_TRUE(migrate(database, 1).ok());
    ASSERT_TRUE(
        database
            .execute("INSERT INTO registration_tokens VALUES ('t', 'default', 'h', 1, 0, 0);"
                     "INSERT INTO api_tokens VALUES ('a', 'ci', 'submitter', 'h', 1, 0);"
                     "INSERT INTO builds VALUES (7, 'local/x', 'main', '', '', '', 0, 1, 1,"
                     " 0, '');"
                     "INSERT INTO tasks VALUES (9, 7, 0, 1, 1, '', '', '', 0, 0, 'c', 's',"
                     " '', 1, 0, 0, 0)")
            .ok());
  }
  const auto store = open_sqlite_store(path);
  ASSERT_TRUE(store.ok()) << store.error().to_string();
  const Loaded loaded = store.value()->load().value();
  ASSERT_EQ(loaded.api_tokens.size(), 1U);
  EXPECT_EQ(loaded.api_tokens[0].repositories, std::vector<std::string>{"*"});
  EXPECT_TRUE(loaded.api_tokens[0].trusted);
  ASSERT_EQ(loaded.registration_tokens.size(), 1U);
  EXPECT_EQ(loaded.registration_tokens[0].worker_names, "");
  ASSERT_EQ(loaded.builds.size(), 1U);
  EXPECT_EQ(loaded.builds[0].build.cache_space, "");
  ASSERT_EQ(loaded.builds[0].tasks.size(), 1U);
  EXPECT_EQ(loaded.builds[0].tasks[0].client_secret, "c");
  EXPECT_EQ(loaded.builds[0].tasks[0].lost_before, 0);
}

TEST(SqliteStore, KnowsWhichBuildsOfAnOlderProgramWereTrusted) {
  const os::TempDir directory = os::TempDir::create("store-test").value();
  const auto path = directory.path() / "controller.db";
  {
    Database database = Database::open(path, Database::Mode::ReadWrite).value();
    ASSERT_TRUE(migrate(database, 3).ok());
    ASSERT_TRUE(database
                    .execute("INSERT INTO pools VALUES ('default', 1, 0, 1);"
                             "INSERT INTO builds VALUES (1, 'local/x', 'main', '', '', '', 0, 1, 1,"
                             " 0, '', '');"
                             "INSERT INTO builds VALUES (2, 'local/x', 'main', '', '', '', 0, 1, 1,"
                             " 0, '', CAST('token-0123456789ab' AS BLOB))")
                    .ok());
  }
  const auto store = open_sqlite_store(path);
  ASSERT_TRUE(store.ok()) << store.error().to_string();
  const Loaded loaded = store.value()->load().value();
  ASSERT_EQ(loaded.builds.size(), 2U);
  EXPECT_TRUE(loaded.builds[0].build.trusted);
  EXPECT_EQ(loaded.builds[0].build.submitted_by, "");
  EXPECT_FALSE(loaded.builds[1].build.trusted);
  EXPECT_EQ(loaded.builds[1].build.submitted_by, "0123456789ab");
  ASSERT_EQ(loaded.pools.size(), 1U);
  EXPECT_EQ(loaded.pools[0].untrusted_isolations, model::IsolationSet::any());
  EXPECT_FALSE(loaded.pools[0].record_shells);
}

TEST(SqliteStore, APoolWhoseRulesCannotBeReadStaysShut) {
  for (const char* damage : {"'2:xx'", "'junk'", "x'ff'", "'3:any4:none'", "'6:docker'"}) {
    SCOPED_TRACE(damage);
    const os::TempDir directory = os::TempDir::create("store-test").value();
    const auto path = directory.path() / "controller.db";
    {
      const auto store = open_sqlite_store(path);
      ASSERT_TRUE(store.ok());
      Changes changes;
      changes.pools = {{"release", true, false, 1, model::IsolationSet::of({}).value()}};
      ASSERT_TRUE(store.value()->apply(changes).ok());
    }
    {
      Database database = Database::open(path, Database::Mode::ReadWrite).value();
      ASSERT_TRUE(
          database.execute(fmt::format("UPDATE pools SET untrusted_isolations = {}", damage)).ok());
    }
    const auto store = open_sqlite_store(path);
    ASSERT_TRUE(store.ok());
    const Result<Loaded> loaded = store.value()->load();
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.error().code(), Code::DataLoss);
    EXPECT_NE(loaded.error().to_string().find("pool 'release'"), std::string::npos)
        << loaded.error().to_string();
  }
}

TEST(SqliteStore, SaysHowToRepairAFileThatIsNoStore) {
  const os::TempDir directory = os::TempDir::create("store-test").value();
  const auto path = directory.path() / "controller.db";
  ASSERT_TRUE(os::write_file(path, std::string(8192, 'x')).ok());
  const auto opened = open_sqlite_store(path);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code(), Code::DataLoss);
  EXPECT_NE(opened.error().message().find(".recover"), std::string::npos);
}

TEST(MemoryStore, WritesNothingWhenToldToFail) {
  MemoryStore store;
  store.fail_with([]() -> Status { return error(Code::ResourceExhausted, "disk full"); });
  Changes changes;
  changes.settings = {{"a", "b"}};
  EXPECT_EQ(store.apply(changes).error().code(), Code::ResourceExhausted);
  EXPECT_TRUE(store.load().value().settings.empty());
  EXPECT_EQ(store.commits(), 0);
}

TEST(FieldCodec, RefusesDamage) {
  EXPECT_EQ(decode_strings(encode_strings({"", "a:b", std::string("\0", 1)})).value().size(), 3U);
  for (const char* bad : {"x", "5:abc", "1", "-1:", "99999999999999999999:"}) {
    EXPECT_EQ(decode_strings(bad).error().code(), Code::DataLoss) << bad;
  }
  EXPECT_EQ(decode_numbers("1,2,30").value(), (std::vector<int>{1, 2, 30}));
  EXPECT_FALSE(decode_numbers("1;2").ok());
}

}  // namespace cirrus::controller::store
