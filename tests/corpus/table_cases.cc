// SPDX-License-Identifier: MIT
// tables/*.json (one case per row) and schema/expected-structure.json.
#include <fmt/format.h>

#include "case_result.h"
#include "lang/conditions/expression.h"
#include "lang/expand/units.h"
#include "lang/schema.h"
#include "lang/tasks/instructions.h"

namespace cirrus::corpus {
namespace {

lang::Variables variables_of(const Json& row) {
  lang::Variables result;
  const Json environment = row.value("env", Json::object());
  for (const auto& [name, value] : environment.items()) result[name] = value.get<std::string>();
  return result;
}

void check_condition(const Json& row, std::vector<std::string>& problems) {
  const lang::Limits limits;
  lang::Budget budget(limits);
  lang::PatternCache patterns;
  const std::vector<std::string> files = row.value("affected_files", std::vector<std::string>());
  lang::Functions functions = lang::change_functions(files, patterns, budget);
  // The tables define a helper of their own.
  functions["first"] = [](const std::vector<std::string>& arguments) -> Result<std::string> {
    if (arguments.empty()) return error(Code::InvalidArgument, "first needs an argument");
    return arguments.front();
  };
  const lang::Variables variables = variables_of(row);
  const Result<bool> value = lang::evaluate_condition(
      row.value("expression", ""), {variables, functions, patterns, limits, budget});
  const Json expected = row.value("expected", Json());
  if (expected.is_boolean()) {
    compare_json(expected, value.ok() ? Json(value.value()) : Json(value.error().to_string()),
                 problems);
  } else if (value.ok()) {
    problems.push_back("expected an error");
  }
}

void check_expansion(const Json& row, std::vector<std::string>& problems) {
  const lang::Limits limits;
  lang::Budget budget(limits);
  const Result<std::string> text =
      lang::expand_text(row.value("input", ""), variables_of(row), limits, budget);
  compare_json(row.value("expected", Json()), text.ok() ? Json(text.value()) : Json(), problems);
}

void check_unit(const Json& row, std::vector<std::string>& problems) {
  const std::string kind = row.value("kind", "");
  const std::string input = row.value("input", "");
  Json actual;
  if (kind == "seconds" || kind == "megabytes") {
    const Result<std::uint32_t> value =
        kind == "seconds" ? lang::parse_seconds(input) : lang::parse_megabytes(input);
    if (value.ok()) actual = value.value();
  } else if (kind == "name-from-key") {
    // Patterns have the form ^(.*)suffix$.
    std::string suffix = row.value("pattern", "");
    if (suffix.starts_with("^(.*)")) suffix.erase(0, 5);
    if (suffix.ends_with('$')) suffix.pop_back();
    const std::string fallback = row.value("default", "");
    actual = lang::name_from_key(input, suffix, fallback).value_or(fallback);
  } else {
    problems.push_back("unknown kind of row: " + kind);
    return;
  }
  const Json expected = row.value("expected", Json());
  if (expected.is_null() || expected == "error") {
    if (!actual.is_null()) problems.push_back("expected an error, found " + actual.dump());
    return;
  }
  compare_json(expected, actual, problems);
}

using Check = void (*)(const Json& row, std::vector<std::string>& problems);

void run_table(const std::filesystem::path& root, const std::string& name, Check check,
               Results& results) {
  const std::optional<Json> table = read_json(root / "tables" / (name + ".json"));
  if (!table) return;
  if (!table->is_array()) {
    results.push_back({"tables/" + name, {"the file is no JSON array"}, false});
    return;
  }
  for (std::size_t i = 0; i < table->size(); ++i) {
    CaseResult result{fmt::format("tables/{} row {}", name, i + 1), {}, false};
    check((*table)[i], result.problems);
    results.push_back(std::move(result));
  }
}

/// Descriptions are for editors and no part of the structure.
void drop_prose(Json& schema) {
  if (schema.is_object()) {
    if (schema.contains("description") && schema["description"].is_string())
      schema.erase("description");
    if (schema.contains("title") && schema["title"].is_string()) schema.erase("title");
  }
  if (schema.is_structured()) {
    for (Json& child : schema) drop_prose(child);
  }
}

}  // namespace

Results run_table_cases(const std::filesystem::path& root) {
  Results results;
  run_table(root, "boolevator", check_condition, results);
  run_table(root, "expander", check_expansion, results);
  run_table(root, "units", check_unit, results);
  return results;
}

Results run_schema_case(const std::filesystem::path& root) {
  const std::optional<Json> expected = read_json(root / "schema" / "expected-structure.json");
  if (!expected) return {};
  CaseResult result{"schema/expected-structure.json", {}, false};
  Json actual = Json::parse(lang::json_schema({}), nullptr, /*allow_exceptions=*/false);
  drop_prose(actual);
  compare_json(*expected, actual, result.problems);
  return {result};
}

}  // namespace cirrus::corpus
