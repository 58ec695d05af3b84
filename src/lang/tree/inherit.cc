// SPDX-License-Identifier: MIT
#include "lang/tree/inherit.h"

#include <algorithm>

namespace cirrus::lang {
namespace {

/// Up to this many entries, looking at all of them is cheaper than an index.
constexpr std::size_t kFew = 8;

bool has_duplicates(const Node& map) {
  if (map.children.size() < 2) return false;
  if (map.children.size() <= kFew) {
    for (std::size_t i = 0; i < map.children.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (map.children[i]->name == map.children[j]->name) return true;
      }
    }
    return false;
  }
  std::vector<std::string_view> names;
  names.reserve(map.children.size());
  for (const Node* child : map.children) names.push_back(child->name);
  std::sort(names.begin(), names.end());
  return std::adjacent_find(names.begin(), names.end()) != names.end();
}

}  // namespace

Inheritance::Inheritance(Tree& tree) : tree_(tree) {
  for (const Node* child : tree.root()->children) root_fields_[child->name].push_back(child);
}

const Node* Inheritance::collect(const Node& from, std::string_view name) {
  const bool environment = name == "env" || name == "environment";
  // Nearest level first, and within a level the last definition first.
  std::vector<const Node*> found;
  for (const Node* level = &from; level != nullptr; level = level->parent) {
    if (level == tree_.root()) {
      const auto fields = root_fields_.find(name);
      if (fields == root_fields_.end()) continue;
      found.insert(found.end(), fields->second.rbegin(), fields->second.rend());
    } else if (level->is_map()) {
      for (auto it = level->children.rbegin(); it != level->children.rend(); ++it) {
        if ((*it)->name == name) found.push_back(*it);
      }
    }
  }
  if (found.empty() || tree_.overcharged()) return found.empty() ? nullptr : found.front();
  const Node* result = without_duplicates(*found.back(), environment);
  for (auto it = found.rbegin() + 1; it != found.rend(); ++it)
    result = merge(*result, **it, environment);
  return result;
}

const Node* Inheritance::without_duplicates(const Node& node, bool environment) {
  if (!node.is_map() || (node.children.size() <= kFew && !has_duplicates(node))) return &node;
  // A field above the tasks is asked for once per task, and looking costs a sort.
  const auto [known, added] = unique_.try_emplace(&node, &node);
  if (added && has_duplicates(node)) {
    Node empty = node;
    empty.children.clear();
    unique_[&node] = merge(empty, node, environment);
  }
  return unique_.at(&node);
}

/// Lays `over`'s entries over those of `result`, the last one of a name being the one that counts.
void Inheritance::merge_entries(Node& result, const Node& over) {
  const auto lay = [&](Node* child, Node*& existing) {
    existing = child->is_scalar() ? child : merge(*existing, *child, false);
  };
  if (over.children.size() <= kFew) {
    for (Node* child : over.children) {
      const auto place = std::find_if(result.children.rbegin(), result.children.rend(),
                                      [&](const Node* had) { return had->name == child->name; });
      if (place == result.children.rend()) {
        result.children.push_back(child);
      } else {
        lay(child, *place);
      }
    }
    return;
  }
  std::unordered_map<std::string_view, std::size_t> last;
  last.reserve(result.children.size() + over.children.size());
  for (std::size_t i = 0; i < result.children.size(); ++i) last[result.children[i]->name] = i;
  for (Node* child : over.children) {
    const auto [place, added] = last.try_emplace(child->name, result.children.size());
    if (added) {
      result.children.push_back(child);
    } else {
      lay(child, result.children[place->second]);
    }
  }
}

/// A list of maps as one map; anything else as it is.
const Node* Inheritance::flatten(const Node& node) {
  const bool maps = node.is_list() && std::all_of(node.children.begin(), node.children.end(),
                                                  [](const Node* item) { return item->is_map(); });
  if (!maps) return &node;
  Node* result = tree_.make();
  *result = node;
  result->kind = Kind::Map;
  result->children.clear();
  for (const Node* item : node.children) {
    result->children.insert(result->children.end(), item->children.begin(), item->children.end());
  }
  tree_.charge(result->children.size());
  return result;
}

Node* Inheritance::merge(const Node& given_base, const Node& given_over, bool environment) {
  const Node& base = environment ? *flatten(given_base) : given_base;
  const Node& over = environment ? *flatten(given_over) : given_over;
  Node* result = tree_.make();
  *result = over;
  tree_.charge(base.children.size() + over.children.size() + 1);
  if (base.kind != over.kind || over.is_scalar() || tree_.overcharged()) return result;
  if (over.is_list()) {
    if (over.name != "additional_containers") return result;
    for (std::size_t i = 0; i < base.children.size(); ++i) {
      if (i >= over.children.size()) {
        result->children.push_back(base.children[i]);
      } else {
        result->children[i] = merge(*base.children[i], *over.children[i], false);
      }
    }
    return result;
  }
  result->children.reserve(base.children.size() + over.children.size());
  result->children = base.children;
  merge_entries(*result, over);
  return result;
}

}  // namespace cirrus::lang
