// SPDX-License-Identifier: MIT
#include "lang/tasks/environment.h"

namespace cirrus::lang {
namespace {

/// Scalars are not copied; lists are put into `joined`.
Located<std::string_view> value_of(const Node& node, std::string& joined) {
  if (node.is_scalar()) return node.text;
  if (!node.is_list()) return wrong_kind(node, "a text or a list of texts");
  std::string& result = joined;
  result.clear();
  for (const Node* item : node.children) {
    if (!item->is_scalar()) return wrong_kind(*item, "a text");
    if (item != node.children.front()) result += '\n';
    result += item->text;
  }
  return std::string_view(result);
}

template <typename Add>
Located<void> each_of_map(const Node& map, const Add& add) {
  std::string joined;
  for (const Node* child : map.children)
    add(std::string(child->name), CIRRUS_TRY(value_of(*child, joined)));
  return {};
}

/// Calls `add` with each name and value in document order.
template <typename Add>
Located<void> each_variable(const Node& field, const Add& add) {
  if (field.is_map()) return each_of_map(field, add);
  if (!field.is_list()) return wrong_kind(field, "a map or a list of maps");
  for (const Node* item : field.children) {
    if (!item->is_map()) return wrong_kind(field, "a map or a list of maps");
    CIRRUS_TRY(each_of_map(*item, add));
  }
  return {};
}

}  // namespace

Located<TextMap> parse_environment(const Node& field) {
  TextMap result;
  CIRRUS_TRY(each_variable(
      field, [&](const std::string& name, std::string_view value) { result[name] = value; }));
  return result;
}

Located<void> apply_environment(Scope& scope, const Node& field) {
  std::size_t bytes = 0;
  CIRRUS_TRY(each_variable(field, [&](const std::string& name, std::string_view value) {
    bytes += name.size() + value.size() + 50;
    scope.set_variable(name, value);
  }));
  if (!scope.session().budget.spend_work(bytes)) {
    return error_at(field, "environments of this size are inherited by too many tasks",
                    ErrorKind::Limit);
  }
  return {};
}

}  // namespace cirrus::lang
