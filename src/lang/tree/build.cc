// SPDX-License-Identifier: MIT
#include "lang/tree/build.h"

#include <unordered_set>

#include <fmt/format.h>

namespace cirrus::lang {
namespace {

class Builder {
 public:
  Builder(Tree& tree, const NameSet& merge_exempt, const Limits& limits)
      : tree_(tree), merge_exempt_(merge_exempt), limits_(limits) {}

  /// `mark` is where the node stands for its user: its key's place, or its own in a list.
  Located<Node*> convert(const yaml::Node& source, std::string_view name, yaml::Mark mark,
                         Node* parent, std::size_t depth) {
    if (depth > limits_.max_depth) {
      return error_at(
          source.mark,
          fmt::format("nested deeper than {} levels once aliases are followed", limits_.max_depth),
          ErrorKind::Limit);
    }
    if (tree_.full()) {
      return error_at(
          source.mark,
          fmt::format("aliases make this file larger than {} values", limits_.max_nodes),
          ErrorKind::Limit);
    }
    if (source.recursive) {
      return error_at(source.mark, fmt::format("alias '*{}' contains itself", source.text));
    }
    const yaml::Node& actual = source.resolved();
    Node* node = tree_.make();
    node->name = name;
    node->mark = source.kind == yaml::Kind::Alias ? yaml::Mark{} : mark;
    node->parent = parent;
    if (actual.kind == yaml::Kind::Scalar) {
      node->text = actual.text;
      node->tag = actual.tag;
      return node;
    }
    if (actual.kind == yaml::Kind::List) {
      CIRRUS_TRY(fill_list(actual, node, depth));
      return node;
    }
    CIRRUS_TRY(fill_map(actual, node, depth));
    return node;
  }

 private:
  Located<void> fill_list(const yaml::Node& list, Node* node, std::size_t depth) {
    node->kind = Kind::List;
    for (const yaml::Node* item : list.items) {
      if (item->is_null()) continue;
      node->children.push_back(CIRRUS_TRY(convert(*item, {}, item->mark, node, depth + 1)));
    }
    return {};
  }

  Located<void> fill_map(const yaml::Node& map, Node* node, std::size_t depth) {
    node->kind = Kind::Map;
    for (const yaml::Entry& entry : map.entries) {
      const bool scalar = entry.key->kind == yaml::Kind::Scalar;
      const yaml::ScalarType type =
          scalar ? yaml::scalar_type(*entry.key) : yaml::ScalarType::Other;
      if (type == yaml::ScalarType::Merge) {
        CIRRUS_TRY(merge(map, *entry.value, node, depth));
        if (node->is_list()) return {};  // `<<` named a list: the map is that list now.
        continue;
      }
      if (type != yaml::ScalarType::String) {
        ConfigError failure =
            error_at(map.mark, scalar && !entry.key->text.empty()
                                   ? fmt::format("key '{}' is not text", entry.key->text)
                                   : std::string("a key of this map is not text"));
        if (scalar) failure.hint = fmt::format("put the key in quotes: \"{}\"", entry.key->text);
        return failure;
      }
      node->children.push_back(
          CIRRUS_TRY(convert(*entry.value, entry.key->text, entry.key->mark, node, depth + 1)));
    }
    return {};
  }

  /// The effect depends on how the value is written, see the table in the language description:
  /// an alias or a list of maps is merged, an alias to a list replaces the map, inline values are
  /// ignored.
  Located<void> merge(const yaml::Node& holder, const yaml::Node& value, Node* node,
                      std::size_t depth) {
    if (value.recursive) {
      return error_at(value.mark, fmt::format("alias '*{}' contains itself", value.text));
    }
    if (value.kind == yaml::Kind::List) {
      for (const yaml::Node* item : value.items) {
        if (item->recursive) {
          return error_at(item->mark, fmt::format("alias '*{}' contains itself", item->text));
        }
        if (!item->is_map()) {
          return error_at(holder.mark, "a list given to '<<' may hold maps only");
        }
        CIRRUS_TRY(merge_map(*item, node, depth));
      }
      return {};
    }
    if (value.kind != yaml::Kind::Alias) return {};
    if (value.is_map()) return merge_map(value, node, depth);
    if (value.is_list()) {
      node->children.clear();
      return fill_list(*value.target, node, depth);
    }
    return error_at(holder.mark,
                    fmt::format("'<<: *{}' names a text; only maps can be merged", value.text));
  }

  Located<void> merge_map(const yaml::Node& value, Node* node, std::size_t depth) {
    std::unordered_set<std::string_view> present;
    for (const Node* child : node->children) present.insert(child->name);
    const Node* merged = CIRRUS_TRY(convert(value, {}, value.mark, node, depth));
    if (!merged->is_map()) {  // It was a map that `<<` turned into a list.
      node->kind = Kind::List;
      node->children = merged->children;
      for (Node* child : node->children) child->parent = node;
      return {};
    }
    for (Node* child : merged->children) {
      if (present.contains(child->name) && !merge_exempt_.contains(child->name)) continue;
      child->parent = node;
      node->children.push_back(child);
    }
    return {};
  }

  Tree& tree_;
  const NameSet& merge_exempt_;
  const Limits& limits_;
};

}  // namespace

Located<std::unique_ptr<Tree>> build_tree(yaml::Document document, const NameSet& merge_exempt,
                                          const Limits& limits) {
  auto tree = std::make_unique<Tree>(std::move(document), limits.max_nodes);
  const yaml::Node* top = tree->document().root();
  if (top == nullptr || top->is_null()) {
    tree->set_root(tree->make());
    tree->root()->kind = Kind::Map;
    return tree;
  }
  if (!top->is_map()) return error_at(top->mark, "the file must be a map of tasks and settings");
  Builder builder(*tree, merge_exempt, limits);
  tree->set_root(CIRRUS_TRY(builder.convert(*top, {}, top->mark, nullptr, 0)));
  return tree;
}

}  // namespace cirrus::lang
