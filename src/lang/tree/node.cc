// SPDX-License-Identifier: MIT
#include "lang/tree/node.h"

namespace cirrus::lang {

const Node* Node::child(std::string_view wanted) const {
  for (auto it = children.rbegin(); it != children.rend(); ++it) {
    if ((*it)->name == wanted) return *it;
  }
  return nullptr;
}

Node* Tree::make() {
  return &nodes_.emplace_back();
}

Node* Tree::copy(const Node& node, Node* parent) {
  Node* result = make();
  result->name = node.name;
  result->kind = node.kind;
  result->text = node.text;
  result->tag = node.tag;
  result->mark = node.mark;
  result->parent = parent;
  result->children.reserve(node.children.size());
  for (const Node* child : node.children) {
    if (full()) break;
    result->children.push_back(copy(*child, result));
  }
  return result;
}

ConfigError error_at(yaml::Mark mark, std::string message, ErrorKind kind) {
  ConfigError result;
  result.message = std::move(message);
  result.line = mark.line;
  result.column = mark.column;
  result.kind = kind;
  return result;
}

ConfigError error_at(const Node& node, std::string message, ErrorKind kind) {
  return error_at(node.mark, std::move(message), kind);
}

}  // namespace cirrus::lang
