// SPDX-License-Identifier: MIT
#include "lang/tasks/environment.h"

namespace cirrus::lang {
namespace {

Located<std::string> value_of(const Node& node) {
  if (node.is_scalar()) return std::string(node.text);
  if (!node.is_list()) return wrong_kind(node, "a text or a list of texts");
  std::string result;
  for (const Node* item : node.children) {
    if (!item->is_scalar()) return wrong_kind(*item, "a text");
    if (item != node.children.front()) result += '\n';
    result += item->text;
  }
  return result;
}

Located<void> add_map(const Node& map, TextMap& result) {
  for (const Node* child : map.children)
    result[std::string(child->name)] = CIRRUS_TRY(value_of(*child));
  return {};
}

}  // namespace

Located<TextMap> parse_environment(const Node& field) {
  TextMap result;
  if (field.is_map()) {
    CIRRUS_TRY(add_map(field, result));
    return result;
  }
  if (!field.is_list()) return wrong_kind(field, "a map or a list of maps");
  for (const Node* item : field.children) {
    if (!item->is_map()) return wrong_kind(field, "a map or a list of maps");
    CIRRUS_TRY(add_map(*item, result));
  }
  return result;
}

Located<void> apply_environment(Scope& scope, const Node& field) {
  std::size_t bytes = 0;
  for (auto& [name, value] : CIRRUS_TRY(parse_environment(field))) {
    bytes += name.size() + value.size() + 50;
    scope.set_variable(name, value);
  }
  if (!scope.session().budget.spend_work(bytes)) {
    return error_at(field, "environments of this size are inherited by too many tasks",
                    ErrorKind::Limit);
  }
  return {};
}

}  // namespace cirrus::lang
