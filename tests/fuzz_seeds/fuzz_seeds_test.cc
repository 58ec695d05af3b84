// SPDX-License-Identifier: MIT
// Every seed, and every input that once crashed a target, runs as a plain test too.
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "agent_targets.h"
#include "targets.h"

namespace cirrus::fuzz {
namespace {

void replay(const char* folder, void (*target)(std::string_view)) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(CIRRUS_SOURCE_DIR) / "fuzz/seeds" / folder)) {
    SCOPED_TRACE(entry.path().string());
    std::ifstream stream(entry.path(), std::ios::binary);
    std::ostringstream content;
    content << stream.rdbuf();
    target(content.str());
    ++count;
  }
  EXPECT_GT(count, 0u);
}

TEST(FuzzSeeds, YamlSeedsRunClean) {
  replay("yaml", run_yaml);
}
TEST(FuzzSeeds, ConditionSeedsRunClean) {
  replay("condition", run_condition);
}
TEST(FuzzSeeds, ExpandSeedsRunClean) {
  replay("expand", run_expand);
}
TEST(FuzzSeeds, ConfigSeedsRunClean) {
  replay("config", run_config);
}
TEST(FuzzSeeds, MaskerSeedsRunClean) {
  replay("masker", run_masker);
}
TEST(FuzzSeeds, EnvFileSeedsRunClean) {
  replay("env_file", run_env_file);
}

TEST(FuzzSeeds, ArchiveSeedsRunClean) {
  replay("archive", run_archive);
}
TEST(FuzzSeeds, ReportSeedsRunClean) {
  replay("report", run_report);
}

}  // namespace
}  // namespace cirrus::fuzz
