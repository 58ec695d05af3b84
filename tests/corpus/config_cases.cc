// SPDX-License-Identifier: MIT
// config/<case>: input.yml and what it must evaluate to.
#include <fmt/format.h>

#include "case_result.h"
#include "lang/evaluate.h"
#include "lang/json.h"

namespace cirrus::corpus {
namespace {

using lang::EvaluateOptions;
using lang::Outcome;

lang::TaskProperty property_of(const Json& json) {
  lang::TaskProperty result;
  result.name = json.value("name", "");
  const std::string type = json.value("type", "");
  if (type == "TYPE_BOOL") result.type = lang::PropertyType::Bool;
  if (type == "TYPE_GROUP") result.type = lang::PropertyType::List;
  return result;
}

EvaluateOptions options_of(const Json& json) {
  EvaluateOptions options;
  if (json.contains("environment"))
    options.environment = json["environment"].get<std::map<std::string, std::string>>();
  if (json.contains("affected_files"))
    options.affected_files = json["affected_files"].get<std::vector<std::string>>();
  const Json given = json.value("options", Json::object());
  options.missing_instances_allowed = given.value("missing_instances_allowed", false);
  if (given.contains("additional_instances")) {
    options.additional_instances =
        given["additional_instances"].get<std::map<std::string, std::string>>();
  }
  for (const Json& property : given.value("additional_task_properties", Json::array())) {
    options.additional_task_properties.push_back(property_of(property));
  }
  return options;
}

void check_partial(const Json& expected, const Json& tasks, const Outcome& outcome,
                   std::vector<std::string>& problems) {
  if (expected.contains("task_count") && expected["task_count"] != tasks.size()) {
    problems.push_back(
        fmt::format("expected {} tasks, found {}", expected["task_count"].dump(), tasks.size()));
  }
  if (expected.contains("tasks_count_before_filtering")) {
    compare_json(expected["tasks_count_before_filtering"],
                 outcome.evaluation.tasks_count_before_filtering, problems);
  }
  if (expected.contains("task_names")) {
    Json names = Json::array();
    for (const Json& task : tasks) names.push_back(task.value("name", ""));
    compare_json(expected["task_names"], names, problems);
  }
  const Json members = expected.value("tasks", Json::array());
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (i >= tasks.size()) {
      problems.push_back(fmt::format("task {} does not exist", i));
      continue;
    }
    for (const auto& [key, value] : members[i].items()) {
      compare_json(value, tasks[i].value(key, Json()), problems);
    }
  }
  for (const auto& [flag, member] :
       {std::pair("same_instance", "instance"), std::pair("same_environment", "environment")}) {
    if (!expected.value(flag, false)) continue;
    for (const Json& task : tasks)
      compare_json(tasks[0].value(member, Json()), task.value(member, Json()), problems);
  }
}

void check_issues(const Json& expected, const Outcome& outcome,
                  std::vector<std::string>& problems) {
  Json wanted = Json::array();
  for (Json issue : expected) {
    issue.erase("meaning");
    issue.erase("message");
    wanted.push_back(issue);
  }
  Json found = Json::parse(lang::issues_to_json(outcome.evaluation.issues));
  for (Json& issue : found) issue.erase("message");
  compare_json(wanted, found, problems);
}

void check_error(const ExpectedError& expected, const Outcome& outcome,
                 std::vector<std::string>& problems) {
  if (!outcome.error) {
    problems.push_back("expected an error: " + expected.meaning);
    return;
  }
  const lang::ConfigError& failure = *outcome.error;
  const bool located = failure.kind == lang::ErrorKind::Located;
  if (located != (expected.kind == "located"))
    problems.push_back("expected a " + expected.kind + " error, found " + lang::render(failure));
  if (expected.kind == "located" &&
      (failure.line != expected.line || failure.column != expected.column)) {
    problems.push_back(fmt::format("expected an error at {}:{}, found {}", expected.line,
                                   expected.column, lang::render(failure)));
  }
}

CaseResult run_case(const std::filesystem::path& folder) {
  CaseResult result{"config/" + folder.filename().string(), {}, false};
  // Their message definition was never public.
  result.optional = folder.filename().string().starts_with("additional-instance-credentials");
  const std::optional<std::string> input = read_file(folder / "input.yml");
  const std::optional<Json> about = read_json(folder / "case.json");
  if (!input || !about || !about->is_object()) {
    result.problems.push_back("input.yml or case.json is missing or unreadable");
    return result;
  }
  const EvaluateOptions options = options_of(*about);
  const lang::MemorySourceTree files(
      about->value("files", Json::object()).get<std::map<std::string, std::string>>());
  const Outcome outcome = lang::evaluate(*input, files, options);
  bool compared = false;
  if (const std::optional<ExpectedError> expected =
          read_expected_error(folder / "expected-error.txt")) {
    check_error(*expected, outcome, result.problems);
    compared = true;
  } else if (outcome.error) {
    result.problems.push_back("unexpected error: " + lang::render(*outcome.error));
    return result;
  }
  const Result<std::string> text = lang::tasks_to_json(outcome.evaluation.tasks);
  const Json tasks = text.ok() ? Json::parse(text.value()) : Json();
  if (!text.ok()) result.problems.push_back(text.error().to_string());
  if (const std::optional<Json> expected = read_json(folder / "expected.json")) {
    compare_json(*expected, tasks, result.problems);
    compared = true;
  }
  if (const std::optional<Json> expected = read_json(folder / "expected-partial.json")) {
    check_partial(*expected, tasks, outcome, result.problems);
    compared = true;
  }
  if (const std::optional<Json> expected = read_json(folder / "expected-issues.json")) {
    check_issues(*expected, outcome, result.problems);
    compared = true;
  }
  if (!compared) result.problems.push_back("the case has no expected-* file");
  return result;
}

}  // namespace

Results run_config_cases(const std::filesystem::path& root) {
  Results results;
  for (const auto& folder : directories(root / "config")) results.push_back(run_case(folder));
  return results;
}

}  // namespace cirrus::corpus
