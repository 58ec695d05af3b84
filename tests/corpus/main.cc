// SPDX-License-Identifier: MIT
// config_corpus --corpus DIR: runs every case of a directory in the corpus layout.
// Prints each failing case with its differences, a count per folder, and `N passed, M failed`.
// Exit: 0 all passed, 1 some failed, 2 the directory is unreadable or holds no case.
#include <cstdio>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "case_result.h"

namespace cirrus::corpus {
namespace {

struct Tally {
  std::size_t passed = 0;
  std::size_t failed = 0;
  std::size_t optional_failed = 0;
};

void report(const std::string& folder, const Results& results, Tally& total) {
  Tally tally;
  for (const CaseResult& result : results) {
    if (result.problems.empty()) {
      ++tally.passed;
      continue;
    }
    ++(result.optional ? tally.optional_failed : tally.failed);
    fmt::print("FAIL {}{}\n", result.name, result.optional ? " (optional, not counted)" : "");
    for (const std::string& problem : result.problems) fmt::print("    {}\n", problem);
  }
  if (!results.empty())
    fmt::print("{}: {} passed, {} failed\n", folder, tally.passed, tally.failed);
  total.passed += tally.passed;
  total.failed += tally.failed;
  total.optional_failed += tally.optional_failed;
}

int run(const std::filesystem::path& root) {
  std::error_code failure;
  if (!std::filesystem::is_directory(root, failure) ||
      std::filesystem::directory_iterator(root, failure) == std::filesystem::directory_iterator()) {
    fmt::print(stderr, "config_corpus: {} is empty or cannot be read\n", root.string());
    return 2;
  }
  Tally total;
  report("config", run_config_cases(root), total);
  report("matrix", run_matrix_cases(root), total);
  report("tables", run_table_cases(root), total);
  report("schema", run_schema_case(root), total);
  report("real-world", run_real_world_cases(root), total);
  if (total.passed + total.failed + total.optional_failed == 0) {
    fmt::print(stderr, "config_corpus: {} holds no case\n", root.string());
    return 2;
  }
  fmt::print("{} passed, {} failed\n", total.passed, total.failed);
  return total.failed > 0 ? 1 : 0;
}

}  // namespace
}  // namespace cirrus::corpus

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--corpus") return cirrus::corpus::run(argv[2]);
  if (argc == 2 && std::string_view(argv[1]).starts_with("--corpus="))
    return cirrus::corpus::run(argv[1] + 9);
  fmt::print(stderr, "usage: config_corpus --corpus DIR\n");
  return 2;
}
