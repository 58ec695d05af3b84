// SPDX-License-Identifier: MIT
#include "agent_embedded/embedded_agent.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "os/files.h"
#include "os/process.h"
#include "os/temp_dir.h"

namespace cirrus {
namespace {

TEST(EmbeddedAgent, UnpacksIntoAProgramThatRuns) {
  const os::TempDir directory = std::move(os::TempDir::create("embedded")).value();
  const Result<std::filesystem::path> path = unpack_embedded_agent(directory.path() / "agents");
  ASSERT_TRUE(path.ok());
  os::SpawnOptions options;
  options.argv = {path.value().string(), "--version"};
  const Result<os::CommandOutput> output = os::run_command(
      options, "", StopToken(), std::chrono::steady_clock::now() + std::chrono::seconds(20));
  ASSERT_TRUE(output.ok());
  EXPECT_TRUE(output.value().status.success());
  EXPECT_EQ(output.value().output.rfind("cirrus-agent ", 0), 0U);
}

TEST(EmbeddedAgent, ReusesAWholeFileAndReplacesATornOne) {
  const os::TempDir directory = std::move(os::TempDir::create("embedded")).value();
  const std::filesystem::path path = std::move(unpack_embedded_agent(directory.path())).value();
  struct stat first {};
  ASSERT_EQ(::stat(path.c_str(), &first), 0);
  EXPECT_EQ(std::move(unpack_embedded_agent(directory.path())).value(), path);
  struct stat second {};
  ASSERT_EQ(::stat(path.c_str(), &second), 0);
  EXPECT_EQ(first.st_ino, second.st_ino);

  std::filesystem::resize_file(path, 1000);
  EXPECT_EQ(std::move(unpack_embedded_agent(directory.path())).value(), path);
  ASSERT_EQ(::stat(path.c_str(), &second), 0);
  EXPECT_EQ(first.st_size, second.st_size);
}

TEST(EmbeddedAgent, SaysWhyItCannotUnpack) {
  EXPECT_FALSE(unpack_embedded_agent("/proc/no/such/place").ok());
}

}  // namespace
}  // namespace cirrus
