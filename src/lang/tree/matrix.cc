// SPDX-License-Identifier: MIT
#include "lang/tree/matrix.h"

#include <algorithm>

#include <fmt/format.h>

namespace cirrus::lang {
namespace {

/// Where a matrix was found: child indices leading from the unit to it, last step first.
struct Found {
  const Node* matrix = nullptr;
  const Node* unit = nullptr;
  std::vector<std::size_t> path;
};

class Expansion {
 public:
  explicit Expansion(Tree& tree) : tree_(tree) {}

  /// Expands below `node`. A matrix whose unit is `node` or above it is returned, to be handled by
  /// the caller that holds the unit. After a replacement the scan goes on at the first copy, so
  /// that everything left of it is known to be free of matrices.
  Located<Found> scan(Node& node) {
    std::size_t index = 0;
    while (index < node.children.size()) {
      Node& child = *node.children[index];
      if (child.name == "matrix" && node.is_map()) {
        Found found{&child, unit_above(node), {index}};
        if (found.unit == nullptr) return misplaced(child);
        if (child.is_scalar()) return error_at(child, "a matrix must be a map or a list");
        return found;
      }
      Found found = CIRRUS_TRY(scan(child));
      if (found.matrix == nullptr) {
        ++index;
        continue;
      }
      if (found.unit != &child) {
        found.path.push_back(index);
        return found;
      }
      CIRRUS_TRY(replace(node, index, found));
    }
    return Found{};
  }

 private:
  static const Node* unit_above(const Node& holder) {
    const Node* node = &holder;
    while (node != nullptr && !is_task_key(node->name)) node = node->parent;
    return node;
  }

  static ConfigError misplaced(const Node& matrix) {
    ConfigError failure =
        error_at(matrix, "a matrix can only stand inside a task, docker_builder or pipe");
    failure.hint = "move it into a task, or give the key around it a name that ends in 'task'";
    return failure;
  }

  Located<void> replace(Node& holder, std::size_t index, const Found& found) {
    std::vector<Node*> copies;
    const Node& unit = *holder.children[index];
    for (const Node* choice : found.matrix->children) {
      if (found.matrix->is_list() && !choice->is_map()) {
        return error_at(*choice, "an item of a matrix list must be a map");
      }
      copies.push_back(copy_with(unit, holder, found, *choice));
      if (tree_.full()) {
        return error_at(*found.matrix,
                        fmt::format("this matrix makes the configuration larger than {} values",
                                    tree_.max_nodes()),
                        ErrorKind::Limit);
      }
    }
    const auto at = holder.children.begin() + static_cast<std::ptrdiff_t>(index);
    holder.children.insert(holder.children.erase(at), copies.begin(), copies.end());
    return {};
  }

  /// A copy of the unit in which `choice` stands for the matrix.
  Node* copy_with(const Node& unit, Node& holder, const Found& found, const Node& choice) {
    const bool list = found.matrix->is_list();
    return copy_along(unit, &holder, found.path.size(), found, choice, list);
  }

  /// Copies `node`; `steps` says how much of the path lies below it.
  Node* copy_along(const Node& node, Node* parent, std::size_t steps, const Found& found,
                   const Node& choice, bool splice) {
    Node* result = tree_.make();
    *result = node;
    result->parent = parent;
    result->children.clear();
    for (std::size_t i = 0; i < node.children.size() && !tree_.full(); ++i) {
      const Node& child = *node.children[i];
      if (i != found.path[steps - 1]) {
        result->children.push_back(tree_.copy(child, result));
      } else if (steps > 1) {
        result->children.push_back(copy_along(child, result, steps - 1, found, choice, splice));
      } else if (splice) {
        for (const Node* entry : choice.children)
          result->children.push_back(tree_.copy(*entry, result));
      } else {
        result->children.push_back(tree_.copy(choice, result));
      }
    }
    return result;
  }

  Tree& tree_;
};

}  // namespace

bool is_task_key(std::string_view key) {
  return key.ends_with("task") || key.ends_with("pipe") || key.ends_with("docker_builder");
}

Located<void> expand_matrices(Tree& tree) {
  Expansion expansion(tree);
  CIRRUS_TRY(expansion.scan(*tree.root()));
  return {};
}

}  // namespace cirrus::lang
