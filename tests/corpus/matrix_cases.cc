// SPDX-License-Identifier: MIT
// matrix/<case>: input.yaml expanded must equal expected.yaml as ordered trees of texts.
#include <fmt/format.h>

#include "case_result.h"
#include "lang/evaluate.h"
#include "lang/tasks/task.h"
#include "lang/tree/build.h"
#include "lang/tree/matrix.h"

namespace cirrus::corpus {
namespace {

using TreeResult = lang::Located<std::unique_ptr<lang::Tree>>;

TreeResult tree_of(const std::string& text, bool expand) {
  auto document = yaml::read(text);
  if (const auto* failure = std::get_if<yaml::SyntaxError>(&document)) {
    return lang::error_at(failure->mark, failure->message, lang::ErrorKind::Syntax);
  }
  TreeResult tree = lang::build_tree(std::get<yaml::Document>(std::move(document)),
                                     lang::collectible_names({}), {});
  if (tree.ok() && expand) {
    const lang::Located<void> done = lang::expand_matrices(*tree.value());
    if (!done.ok()) return done.error();
  }
  return tree;
}

/// One line per node, so that differences can be shown.
void print(const lang::Node& node, std::size_t depth, std::vector<std::string>& lines) {
  const char* kind = node.is_map() ? "{}" : node.is_list() ? "[]" : "";
  lines.push_back(fmt::format("{:{}}{}: {}{}", "", 2 * depth, node.name, kind, node.text));
  for (const lang::Node* child : node.children) print(*child, depth + 1, lines);
}

void compare_trees(const lang::Node& expected, const lang::Node& actual,
                   std::vector<std::string>& problems) {
  std::vector<std::string> wanted;
  std::vector<std::string> found;
  print(expected, 0, wanted);
  print(actual, 0, found);
  for (std::size_t i = 0; i < std::max(wanted.size(), found.size()); ++i) {
    const std::string left = i < wanted.size() ? wanted[i] : "(end)";
    const std::string right = i < found.size() ? found[i] : "(end)";
    if (left == right) continue;
    problems.push_back(fmt::format("at node {}: expected '{}', found '{}'", i, left, right));
    return;
  }
}

CaseResult run_case(const std::filesystem::path& folder) {
  CaseResult result{"matrix/" + folder.filename().string(), {}, false};
  const std::optional<std::string> input = read_file(folder / "input.yaml");
  if (!input) {
    result.problems.push_back("input.yaml is missing");
    return result;
  }
  TreeResult actual = tree_of(*input, /*expand=*/true);
  if (const std::optional<ExpectedError> expected =
          read_expected_error(folder / "expected-error.txt")) {
    if (actual.ok()) {
      result.problems.push_back("expected an error: " + expected->meaning);
    } else if (actual.error().line != expected->line || actual.error().column != expected->column ||
               actual.error().kind != lang::ErrorKind::Located) {
      result.problems.push_back(fmt::format("expected an error at {}:{}, found {}", expected->line,
                                            expected->column, lang::render(actual.error())));
    }
    return result;
  }
  if (!actual.ok()) {
    result.problems.push_back("unexpected error: " + lang::render(actual.error()));
    return result;
  }
  const std::optional<std::string> text = read_file(folder / "expected.yaml");
  TreeResult expected = tree_of(text.value_or(""), /*expand=*/false);
  if (!text || !expected.ok()) {
    result.problems.push_back("expected.yaml is missing or cannot be read");
    return result;
  }
  compare_trees(*expected.value()->root(), *actual.value()->root(), result.problems);
  return result;
}

}  // namespace

Results run_matrix_cases(const std::filesystem::path& root) {
  Results results;
  for (const auto& folder : directories(root / "matrix")) results.push_back(run_case(folder));
  return results;
}

}  // namespace cirrus::corpus
