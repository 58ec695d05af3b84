// SPDX-License-Identifier: MIT
#include "lang/tasks/json_text.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/utf8.h"

namespace cirrus::lang {

std::string json_quoted(std::string_view text) {
  std::string result = "\"";
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char c = text.front();
    if (length == 0) {
      result += "\xEF\xBF\xBD";
    } else if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      result += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return result + '"';
}

std::string json_text(const Node& node) {
  if (node.is_scalar()) return json_quoted(node.text);
  std::string result;
  if (node.is_list()) {
    for (const Node* item : node.children)
      result += (result.empty() ? "[" : ",") + json_text(*item);
    return result.empty() ? "[]" : result + "]";
  }
  std::map<std::string_view, const Node*> sorted;
  for (const Node* child : node.children) sorted[child->name] = child;
  for (const auto& [key, child] : sorted) {
    result += result.empty() ? "{" : ",";
    result += json_quoted(key) + ":" + json_text(*child);
  }
  return result.empty() ? "{}" : result + "}";
}

}  // namespace cirrus::lang
