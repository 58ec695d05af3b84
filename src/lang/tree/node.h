// SPDX-License-Identifier: MIT
// The tree a configuration becomes: aliases copied in, merge keys applied, keys as names of their
// values. Matrix expansion and inheritance work on it; task parsing only reads it.
#pragma once

#include <deque>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lang/config_error.h"
#include "lang/limits.h"
#include "yaml/tree.h"

namespace cirrus::lang {

enum class Kind { Scalar, Map, List };

/// Names are views into the YAML document, which the Tree keeps alive.
struct Node {
  std::string_view name;  ///< its key; empty for list items and the root
  Kind kind = Kind::Scalar;
  std::string_view text;        ///< of a scalar
  std::string_view tag;         ///< of a scalar, mostly empty
  yaml::Mark mark;              ///< its key, or itself in a list; 0:0 if it came from an alias
  Node* parent = nullptr;       ///< null for the root and for nodes made by merging
  std::vector<Node*> children;  ///< entries of a map (names may repeat), items of a list

  bool is_map() const { return kind == Kind::Map; }
  bool is_list() const { return kind == Kind::List; }
  bool is_scalar() const { return kind == Kind::Scalar; }
  /// A scalar without text: how an empty value looks.
  bool is_blank() const { return kind == Kind::Scalar && text.empty(); }
  /// The last child of that name; null if there is none.
  const Node* child(std::string_view wanted) const;
};

using NameSet = std::set<std::string, std::less<>>;

/// Owns all nodes of one evaluation. Nodes are never freed before the tree, so that views and
/// pointers stay valid while a matrix replaces whole subtrees.
class Tree {
 public:
  Tree(yaml::Document document, std::size_t max_nodes)
      : document_(std::move(document)), max_nodes_(max_nodes) {}

  Node* root() const { return root_; }
  void set_root(Node* root) { root_ = root; }
  const yaml::Document& document() const { return document_; }

  /// A new node; never null. Ask `full` afterwards, at the latest once per copied subtree.
  Node* make();
  /// More nodes were made than allowed.
  bool full() const { return nodes_.size() > max_nodes_; }
  /// Counts pointers copied by merging, which cost as nodes do.
  void charge(std::size_t nodes) { charged_ += nodes; }
  bool overcharged() const { return charged_ > 20 * max_nodes_; }
  /// A copy of `node` below `parent`; stops early when the tree is full.
  Node* copy(const Node& node, Node* parent);
  std::size_t max_nodes() const { return max_nodes_; }

 private:
  yaml::Document document_;
  std::deque<Node> nodes_;
  Node* root_ = nullptr;
  std::size_t max_nodes_;
  std::size_t charged_ = 0;
};

/// An error at a node's position.
ConfigError error_at(yaml::Mark mark, std::string message, ErrorKind kind = ErrorKind::Located);
ConfigError error_at(const Node& node, std::string message, ErrorKind kind = ErrorKind::Located);

}  // namespace cirrus::lang
