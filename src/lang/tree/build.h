// SPDX-License-Identifier: MIT
// YAML document to tree: aliases copied, `<<` applied, null list items dropped.
#pragma once

#include <memory>

#include "lang/tree/node.h"

namespace cirrus::lang {

/// Builds the tree; its root is an empty map for an empty document. `merge_exempt` are the keys
/// that `<<` appends although the map has them already, so that they merge instead of losing.
/// Errors: Located for keys that are not text, unsuitable merge values, recursive aliases and a
/// top level that is no map; Limit when aliases make the tree too large or too deep.
/// Source: reference CLI, YAML node conversion; `<<` rules of its merge test cases.
Located<std::unique_ptr<Tree>> build_tree(yaml::Document document, const NameSet& merge_exempt,
                                          const Limits& limits);

}  // namespace cirrus::lang
