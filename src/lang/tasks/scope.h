// SPDX-License-Identifier: MIT
// What parsing one task sees: its environment, and how field values become texts, truths and lists.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "lang/conditions/expression.h"
#include "lang/evaluate.h"
#include "lang/tree/inherit.h"

namespace cirrus::lang {

using TextMap = std::map<std::string, std::string>;

/// State of one whole evaluation; lives on its caller's stack, one thread.
struct Session {
  Session(const EvaluateOptions& given_options, const SourceTree& given_files, Tree& given_tree)
      : options(given_options),
        files(given_files),
        tree(given_tree),
        inheritance(given_tree),
        budget(given_options.limits),
        functions(change_functions(given_options.affected_files, patterns, budget)) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Adds a warning at the node; counts against the output budget.
  void warn(const Node& node, std::string message);
  /// Fails once the evaluation used up its work or output.
  Located<void> check_budget() const;

  const EvaluateOptions& options;
  const SourceTree& files;
  Tree& tree;
  Inheritance inheritance;
  PatternCache patterns;
  Budget budget;
  Functions functions;
  std::vector<pb::Issue> issues;
  bool output_exhausted = false;
  /// Where a misspelt field was reported; tasks made by a matrix or a template share theirs.
  std::set<std::string> misspelt;
  /// Fields a task may have, by what kind of task it is; filled when first asked for.
  std::map<int, std::vector<std::string>> known_fields;
};

using FieldNames = std::vector<std::string>;

/// One task's view. Field functions report errors at the node they are given.
class Scope {
 public:
  Scope(Session& session, const Node& task) : session_(session), task_(task) {}

  Session& session() { return session_; }
  const Node& task() const { return task_; }

  const TextMap& environment() const { return environment_; }
  void set_variable(const std::string& name, std::string_view value);
  void remove_variable(const std::string& name);
  /// A variable of the merged environment, empty if unset.
  const std::string& variable(const std::string& name);
  /// Task environment overlaid by the build's.
  const Variables& variables();

  /// The field as this task inherits it; null if nobody defines it.
  const Node* collect(std::string_view name);

  Located<std::string> text(const Node& node) const;
  Located<std::string> expanded(const Node& node);
  Located<std::string> expand(const Node& node, std::string_view value);
  Located<bool> condition(const Node& node);
  /// A text or a list of texts, expanded; an item that expands to `[a, b]` becomes several.
  Located<std::vector<std::string>> texts(const Node& node);
  Located<std::vector<std::string>> raw_texts(const Node& node) const;
  /// A map, or a list of maps, of texts; the last of equal keys wins.
  Located<TextMap> text_map(const Node& node, bool lists_allowed, bool expand_values);

  Located<float> decimal32(const Node& node);
  Located<double> decimal(const Node& node, ErrorKind kind);
  Located<std::uint32_t> megabytes(const Node& node);
  Located<std::int64_t> integer(const Node& node, std::int64_t low, std::int64_t high);

  /// Warns if `node` holds something but is no map.
  void expect_map(const Node& node);
  /// Also warns of each field that is not in `known` but spelt nearly like one that is. Silent
  /// without our extensions, as the reference is; other unknown fields are anybody's own.
  void expect_fields(const Node& node, const FieldNames& known);
  /// Warns of one field as above. `suffixes`: what names of `known`'s kind may end in after `_`.
  void check_spelling(const Node& field, const FieldNames& known, const FieldNames& suffixes = {});

 private:
  Session& session_;
  const Node& task_;
  TextMap environment_;
  Variables variables_;
  bool variables_valid_ = false;
  std::vector<std::pair<std::string_view, const Node*>> collected_;  // few; each asked for again
};

/// The children of a map that count: of equal names only the last. None if it is no map.
std::vector<const Node*> fields_of(const Node& map);

/// `'image' must be a text, found a map`.
ConfigError wrong_kind(const Node& node, std::string_view wanted);

}  // namespace cirrus::lang
