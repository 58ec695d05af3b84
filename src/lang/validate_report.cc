// SPDX-License-Identifier: MIT
#include "lang/validate_report.h"

#include <algorithm>

#include "base/strings.h"
#include "lang/json.h"
#include "lang/tasks/json_text.h"

namespace cirrus::lang {
namespace {

/// All problems as issues, under the user's name for the file.
std::vector<pb::Issue> all_issues(const Outcome& outcome, std::string_view path) {
  std::vector<pb::Issue> issues = outcome.evaluation.issues;
  if (outcome.error) issues.push_back(issue_of(*outcome.error));
  for (pb::Issue& issue : issues) {
    if (issue.path() == ".cirrus.yml") issue.set_path(std::string(path));
  }
  return issues;
}

std::string text_report(const Outcome& outcome, std::string_view path) {
  std::string result;
  for (const pb::Issue& issue : outcome.evaluation.issues) {
    result += issue.path() == ".cirrus.yml" ? std::string(path) : issue.path();
    if (issue.line() > 0) result += fmt::format(":{}:{}", issue.line(), issue.column());
    result +=
        fmt::format(": {}: {}\n", to_lower(pb::Issue_Level_Name(issue.level())), issue.message());
  }
  if (outcome.error) {
    ConfigError shown = *outcome.error;
    if (shown.path == ".cirrus.yml") shown.path = path;
    return result + render(shown) + "\n";
  }
  const std::size_t count = outcome.evaluation.tasks.size();
  result += fmt::format("{}: {} {}\n", path, count, count == 1 ? "task" : "tasks");
  for (const pb::Task& task : outcome.evaluation.tasks) {
    result += fmt::format("  {}", task.name());
    for (const std::string& label : task.metadata().unique_labels()) {
      result += fmt::format(" [{}]", shorten(label, 60));
    }
    if (task.status() == pb::SKIPPED) result += " (skipped)";
    result += '\n';
  }
  return result;
}

std::string_view sarif_level(pb::Issue::Level level) {
  if (level == pb::Issue::ERROR) return "error";
  return level == pb::Issue::WARNING ? "warning" : "note";
}

std::string sarif_report(const std::vector<pb::Issue>& issues) {
  std::string results;
  for (const pb::Issue& issue : issues) {
    std::string text = issue.message();
    if (!issue.raw_details().empty()) text += "; " + issue.raw_details();
    // SARIF knows no place 0; what has no single place belongs to the whole file.
    const std::string region =
        issue.line() == 0 ? ""
                          : fmt::format(R"(,"region":{{"startLine":{},"startColumn":{}}})",
                                        issue.line(), std::max<std::uint64_t>(1, issue.column()));
    if (!results.empty()) results += ',';
    results += fmt::format(
        R"({{"ruleId":"configuration","level":"{}","message":{{"text":{}}},"locations":[{{"physicalLocation":{{"artifactLocation":{{"uri":{}}}{}}}}}]}})",
        sarif_level(issue.level()), json_quoted(text), json_quoted(issue.path()), region);
  }
  return fmt::format(
      R"({{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[{{"tool":{{"driver":{{"name":"cirrus validate","rules":[{{"id":"configuration"}}]}}}},"columnKind":"unicodeCodePoints","results":[{}]}}]}})",
      results);
}

}  // namespace

std::optional<ReportFormat> report_format(std::string_view name) {
  if (name == "text") return ReportFormat::Text;
  if (name == "json") return ReportFormat::Json;
  if (name == "sarif") return ReportFormat::Sarif;
  return std::nullopt;
}

Result<std::string> validate_report(
    const Outcome& outcome, ReportFormat format, std::string_view path,
    const std::shared_ptr<const google::protobuf::DescriptorPool>& descriptors) {
  if (format == ReportFormat::Text) return text_report(outcome, path);
  const std::vector<pb::Issue> issues = all_issues(outcome, path);
  if (format == ReportFormat::Sarif) return sarif_report(issues) + "\n";
  const std::string tasks = CIRRUS_TRY(tasks_to_json(outcome.evaluation.tasks, descriptors));
  return fmt::format(
      "{{\"schema_version\":1,\"tasks\":{},\"issues\":{},\"tasksCountBeforeFiltering\":{}}}\n",
      tasks, issues_to_json(issues), outcome.evaluation.tasks_count_before_filtering);
}

int validate_exit_code(const Outcome& outcome) {
  const auto& issues = outcome.evaluation.issues;
  const bool failed = std::any_of(issues.begin(), issues.end(), [](const pb::Issue& issue) {
    return issue.level() == pb::Issue::ERROR;
  });
  return outcome.error || failed ? 1 : 0;
}

}  // namespace cirrus::lang
