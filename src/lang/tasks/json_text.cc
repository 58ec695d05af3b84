// SPDX-License-Identifier: MIT
#include "lang/tasks/json_text.h"

#include <map>

#include <fmt/format.h>

namespace cirrus::lang {
namespace {

/// The length of the UTF-8 sequence at the start of `text`, 0 if there is none.
std::size_t sequence_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  const std::size_t length = first < 0x80         ? 1
                             : (first >> 5) == 6  ? 2
                             : (first >> 4) == 14 ? 3
                             : (first >> 3) == 30 ? 4
                                                  : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

std::string json_quoted(std::string_view text) {
  std::string result = "\"";
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
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
