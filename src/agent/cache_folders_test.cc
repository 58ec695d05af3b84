// SPDX-License-Identifier: MIT
#include "agent/cache_folders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string as_is(const std::string& text) {
  return text;
}

TEST(CacheFolders, TheBaseIsTheOnlyFolderOrTheWorkingDirectory) {
  const auto base = [](const std::vector<std::string>& folders) {
    return CacheFolders::plan(folders, "/work/dir/", as_is).value().base.string();
  };
  EXPECT_EQ(base({"node_modules"}), "/work/dir/node_modules");
  EXPECT_EQ(base({"/var/cache/x/"}), "/var/cache/x");
  EXPECT_EQ(base({"a/../b/./c"}), "/work/dir/b/c");
  EXPECT_EQ(base({"a", "b"}), "/work/dir");
  EXPECT_EQ(base({"**/node_modules"}), "/work/dir");
  EXPECT_EQ(base({"what?"}), "/work/dir/what?");
}

TEST(CacheFolders, SeveralMustLieInTheWorkingDirectory) {
  for (const std::vector<std::string>& folders : std::vector<std::vector<std::string>>{
           {"a", "/elsewhere"}, {"a", "../b"}, {"/tmp/*"}, {"a", "/work/directory"}}) {
    const Result<CacheFolders> plan = CacheFolders::plan(folders, "/work/dir", as_is);
    ASSERT_FALSE(plan.ok());
    EXPECT_THAT(plan.error().to_string(), HasSubstr("outside of the working directory"));
  }
}

// Source: conformance list, row 16.
TEST(CacheFolders, FoldersBelowOthersAreDropped) {
  EXPECT_THAT(without_nested({"/tmp/node_modules/m/node_modules", "/tmp/node_modules",
                              "/tmp/node_mod", "/tmp/node_modules"}),
              ElementsAre("/tmp/node_mod", "/tmp/node_modules"));
}

TEST(CacheFolders, PatternsAreLookedUpWhenAsked) {
  const os::TempDir root = std::move(os::TempDir::create("folders-test")).value();
  const CacheFolders plan = CacheFolders::plan({"*/target", "missing"}, root.path(), as_is).value();
  EXPECT_THAT(plan.existing(StopToken()).value(), IsEmpty());
  ASSERT_TRUE(os::make_directories(root.path() / "a/target").ok());
  EXPECT_THAT(plan.existing(StopToken()).value(), ElementsAre(root.path() / "a/target"));
}

TEST(CacheFolders, ContentsDecideWhatChanged) {
  const os::TempDir root = std::move(os::TempDir::create("folders-test")).value();
  const fs::path& base = root.path();
  const auto write = [&](const char* name, const char* text) {
    ASSERT_TRUE(os::make_directories((base / name).parent_path(), 0755).ok());
    ASSERT_TRUE(os::write_file(base / name, text).ok());
  };
  write("same", "1");
  write("touched", "2");
  write("changed", "3");
  write("resized", "4");
  write("deleted", "5");
  fs::create_symlink("same", base / "link");
  Snapshot before = look_at(base, {base}, StopToken()).value();
  ASSERT_EQ(before.size(), 6U);
  // As an unpacking notes them: SHA-256 of "2" and "3".
  before["touched"].digest = "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35";
  before["changed"].digest = "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce";
  EXPECT_FALSE(
      compare(base, before, look_at(base, {base}, StopToken()).value(), StopToken()).value().any());
  write("touched", "2");
  write("changed", "x");
  write("resized", "44");
  write("new/file", "6");
  fs::remove(base / "deleted");
  fs::remove(base / "link");
  fs::create_symlink("touched", base / "link");
  const Changes changes =
      compare(base, before, look_at(base, {base}, StopToken()).value(), StopToken()).value();
  EXPECT_THAT(changes.created, ElementsAre("new/file"));
  EXPECT_THAT(changes.modified, ElementsAre("changed", "link", "resized"));
  EXPECT_THAT(changes.deleted, ElementsAre("deleted"));
}

}  // namespace
}  // namespace cirrus::agent
