// SPDX-License-Identifier: MIT
// What running one corpus case gave, and the comparisons the suites share.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace cirrus::corpus {

using Json = nlohmann::ordered_json;

struct CaseResult {
  std::string name;                   ///< `config/aliases-many`
  std::vector<std::string> problems;  ///< empty: passed
  bool optional = false;
};

/// One suite: every case below `root` of its kind. A missing folder gives no cases.
using Results = std::vector<CaseResult>;
Results run_config_cases(const std::filesystem::path& root);
Results run_matrix_cases(const std::filesystem::path& root);
Results run_table_cases(const std::filesystem::path& root);
Results run_schema_case(const std::filesystem::path& root);
Results run_real_world_cases(const std::filesystem::path& root);

/// A file's bytes; nothing if it cannot be read.
std::optional<std::string> read_file(const std::filesystem::path& path);
/// A file as JSON; nothing if it is missing, `discarded` if it is no JSON.
std::optional<Json> read_json(const std::filesystem::path& path);
/// The directories below `path`, sorted by name.
std::vector<std::filesystem::path> directories(const std::filesystem::path& path);

/// Adds one line per difference (at most twenty): the path, what was expected, what was found.
void compare_json(const Json& expected, const Json& actual, std::vector<std::string>& problems);

/// A `key: value` file: expected-error.txt.
struct ExpectedError {
  std::string kind;
  std::size_t line = 0;
  std::size_t column = 0;
  std::string meaning;
};
std::optional<ExpectedError> read_expected_error(const std::filesystem::path& path);

}  // namespace cirrus::corpus
