// SPDX-License-Identifier: MIT
#include "targets.h"

#include "base/check.h"
#include "base/strings.h"
#include "lang/conditions/expression.h"
#include "lang/conditions/path_pattern.h"
#include "lang/evaluate.h"
#include "lang/expand/units.h"
#include "lang/tasks/dockerfile.h"
#include "lang/tasks/shell_words.h"
#include "lang/tree/build.h"
#include "lang/tree/matrix.h"
#include "lang/validate_report.h"

namespace cirrus::fuzz {
namespace {

/// Small, so that the fuzzer spends its time on paths instead of on size.
lang::Limits small_limits() {
  lang::Limits limits;
  limits.max_bytes = 64 << 10;
  limits.max_nodes = 5'000;
  limits.max_tasks = 100;
  limits.max_text_bytes = 16 << 10;
  limits.max_output_bytes = 1 << 20;
  limits.max_work = 1'000'000;
  return limits;
}

std::size_t depth_of(const lang::Node& node) {
  std::size_t deepest = 0;
  for (const lang::Node* child : node.children) deepest = std::max(deepest, depth_of(*child));
  return deepest + 1;
}

}  // namespace

void run_yaml(std::string_view input) {
  const lang::Limits limits = small_limits();
  auto document = yaml::read(input, {limits.max_bytes, limits.max_depth, limits.max_nodes});
  if (std::holds_alternative<yaml::SyntaxError>(document)) return;
  auto tree = lang::build_tree(std::get<yaml::Document>(std::move(document)),
                               lang::NameSet{"env", "always"}, limits);
  if (!tree.ok()) return;
  const lang::Located<void> expanded = lang::expand_matrices(*tree.value());
  if (expanded.ok()) {
    CIRRUS_CHECK(depth_of(*tree.value()->root()) <= 2 * limits.max_depth, "trees stay shallow");
  }
}

void run_condition(std::string_view input) {
  const lang::Limits limits = small_limits();
  lang::Budget budget(limits);
  lang::PatternCache patterns;
  const std::vector<std::string> files = {"src/a.cc", "README.md", "ä/b"};
  const lang::Functions functions = lang::change_functions(files, patterns, budget);
  const lang::Variables variables = {
      {"A", "x"}, {"B", "$A"}, {"T", "true"}, {"LOOP", "$LOOP$LOOP"}};
  (void)lang::evaluate_condition(input, {variables, functions, patterns, limits, budget});
  (void)patterns.matches_path("src/a.cc", input, budget);
  (void)lang::shell_words(input);
  (void)lang::copied_paths(input, {{"A", "b"}});
}

void run_expand(std::string_view input) {
  const lang::Limits limits = small_limits();
  lang::Budget budget(limits);
  lang::Variables variables;
  const std::vector<std::string> lines = split(input, '\n');
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const std::size_t equals = std::min(lines[i].find('='), lines[i].size());
    variables[lines[i].substr(0, equals)] =
        equals < lines[i].size() ? lines[i].substr(equals + 1) : "";
  }
  const Result<std::string> result = lang::expand_text(lines.front(), variables, limits, budget);
  CIRRUS_CHECK(
      !result.ok() || result.value().size() <= std::max(limits.max_text_bytes, input.size()),
      "expansion respects its bound");
  (void)lang::parse_megabytes(input);
  (void)lang::parse_seconds(input);
  (void)lang::parse_decimal(input);
}

void run_config(std::string_view input) {
  lang::EvaluateOptions options = lang::controller_options();
  options.limits = small_limits();
  options.prebuild_tasks = true;
  options.environment = {{"CIRRUS_BRANCH", "main"}, {"CI", "true"}};
  options.affected_files = {"README.md"};
  const lang::MemorySourceTree files({{"Dockerfile", "FROM a\nCOPY x /\n"}, {"x", "1"}});
  const lang::Outcome outcome = lang::evaluate(input, files, options);
  if (outcome.error) CIRRUS_CHECK(outcome.evaluation.tasks.empty(), "no tasks beside an error");
  for (const lang::ReportFormat format :
       {lang::ReportFormat::Text, lang::ReportFormat::Json, lang::ReportFormat::Sarif}) {
    (void)lang::validate_report(outcome, format, ".cirrus.yml");
  }
}

}  // namespace cirrus::fuzz
