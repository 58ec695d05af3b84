// SPDX-License-Identifier: MIT
// Inheritance: what a task sees of a field that may also stand above it.
#pragma once

#include <string_view>
#include <unordered_map>
#include <vector>

#include "lang/tree/node.h"

namespace cirrus::lang {

/// Merges a field's definitions along the way to the root: nearer levels override farther ones,
/// later siblings earlier ones; maps key by key, everything else as a whole, except that
/// `additional_containers` merge item by item and lists of maps in `env` count as one map.
/// Keeps results in the tree. Not thread-safe. Source: reference CLI, collectible fields.
class Inheritance {
 public:
  explicit Inheritance(Tree& tree);

  /// The merged field as `from` sees it, null if no level defines it. With one definition this is
  /// that node itself. Its position is that of the nearest definition.
  const Node* collect(const Node& from, std::string_view name);
  /// `over` laid over `base` by the same rules.
  const Node* overlay(const Node& base, const Node& over) { return merge(base, over, false); }

 private:
  Node* merge(const Node& base, const Node& over, bool environment);
  const Node* flatten(const Node& node);
  const Node* without_duplicates(const Node& node, bool environment);
  void merge_entries(Node& result, const Node& over);

  Tree& tree_;
  std::unordered_map<std::string_view, std::vector<const Node*>> root_fields_;
  /// Maps and what they are with equal keys merged.
  std::unordered_map<const Node*, const Node*> unique_;
};

}  // namespace cirrus::lang
