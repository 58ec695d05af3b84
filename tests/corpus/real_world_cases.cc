// SPDX-License-Identifier: MIT
// real-world/index.json: public configurations and how many tasks they have for a push and a pull
// request.
#include <fmt/format.h>

#include "case_result.h"
#include "lang/evaluate.h"

namespace cirrus::corpus {
namespace {

/// A repository in which every file exists and has one line.
class OneLineFiles : public lang::SourceTree {
 public:
  Result<std::optional<std::string>> read(std::string_view path) const override {
    if (path.ends_with(".star")) return std::optional<std::string>();
    return std::optional<std::string>("FROM debian:latest\n");
  }
  Result<std::optional<std::vector<std::string>>> list(std::string_view) const override {
    return std::optional<std::vector<std::string>>();
  }
};

lang::EvaluateOptions options_for(const std::string& event, const std::string& repository) {
  lang::EvaluateOptions options;
  options.additional_instances = lang::cloud_instances();
  options.additional_task_properties = lang::hosted_task_properties();
  options.affected_files = {"README.md", "src/a.c"};
  const std::size_t slash = repository.find('/');
  options.environment = {
      {"CI", "true"},
      {"CIRRUS_CI", "true"},
      {"CIRRUS_USER_COLLABORATOR", "true"},
      {"CIRRUS_DEFAULT_BRANCH", "main"},
      {"CIRRUS_REPO_FULL_NAME", repository},
      {"CIRRUS_REPO_OWNER", repository.substr(0, slash)},
      {"CIRRUS_REPO_NAME", slash == std::string::npos ? "" : repository.substr(slash + 1)}};
  if (event == "pr") {
    options.environment["CIRRUS_BRANCH"] = "pull/7";
    options.environment["CIRRUS_PR"] = "7";
    options.environment["CIRRUS_BASE_BRANCH"] = "main";
  } else {
    options.environment["CIRRUS_BRANCH"] = "main";
  }
  return options;
}

}  // namespace

Results run_real_world_cases(const std::filesystem::path& root) {
  Results results;
  const std::optional<Json> index = read_json(root / "real-world" / "index.json");
  if (!index) return results;
  const OneLineFiles files;
  for (const Json& entry : index->value("files", Json::array())) {
    const std::string file = entry.value("file", "");
    const Json computed = entry.value("computed", Json::object());
    for (const auto& [event, expected] : computed.items()) {
      CaseResult result{fmt::format("real-world/{} ({})", file, event), {}, false};
      const std::optional<std::string> text = read_file(root / "real-world" / file);
      if (!text) {
        result.problems.push_back("the file is missing");
        results.push_back(std::move(result));
        continue;
      }
      const lang::Outcome outcome =
          lang::evaluate(*text, files, options_for(event, entry.value("repository", "")));
      if (outcome.error)
        result.problems.push_back("unexpected error: " + lang::render(*outcome.error));
      if (!outcome.error)
        compare_json(expected.value("tasks", Json()), outcome.evaluation.tasks.size(),
                     result.problems);
      results.push_back(std::move(result));
    }
  }
  return results;
}

}  // namespace cirrus::corpus
