// SPDX-License-Identifier: MIT
#include "agent/expansion.h"

namespace cirrus::agent {
namespace {

constexpr int kMaxPasses = 10;

bool is_name_byte(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_one_byte_name(char c) {
  return std::string_view("*#$@!?-").find(c) != std::string_view::npos || (c >= '0' && c <= '9');
}

/// What stands behind a dollar sign: a name and how many bytes it takes. An empty name with bytes
/// is dropped from the text; one without leaves the dollar sign alone.
struct Reference {
  std::string_view name;
  std::size_t bytes = 0;
};

Reference read_reference(std::string_view rest) {
  if (rest.empty()) return {};
  if (rest.front() == '{') {
    const std::size_t close = rest.find('}');
    if (close == std::string_view::npos) return {{}, 1};
    return {rest.substr(1, close - 1), close + 1};
  }
  if (is_one_byte_name(rest.front())) return {rest.substr(0, 1), 1};
  std::size_t length = 0;
  while (length < rest.size() && is_name_byte(rest[length])) ++length;
  return {rest.substr(0, length), length};
}

std::string value_of(std::string_view reference, const Lookup& lookup) {
  const std::size_t colon = reference.find(':');
  if (std::optional<std::string> value = lookup(reference.substr(0, colon))) {
    return *std::move(value);
  }
  return colon == std::string_view::npos ? std::string() : std::string(reference.substr(colon + 1));
}

std::string expand_dollars(std::string_view text, const Lookup& lookup) {
  std::string result;
  result.reserve(text.size());
  for (;;) {
    const std::size_t dollar = text.find('$');
    result.append(text.substr(0, dollar));
    if (dollar == std::string_view::npos) return result;
    text.remove_prefix(dollar + 1);
    const Reference reference = read_reference(text);
    if (!reference.name.empty()) {
      result += value_of(reference.name, lookup);
    } else if (reference.bytes == 0) {
      result += '$';
    }
    text.remove_prefix(reference.bytes);
  }
}

std::string expand_percents(std::string_view text, const Lookup& lookup) {
  std::string result;
  result.reserve(text.size());
  for (;;) {
    const std::size_t open = text.find('%');
    result.append(text.substr(0, open));
    if (open == std::string_view::npos) return result;
    text.remove_prefix(open + 1);
    std::size_t length = 0;
    while (length < text.size() && is_name_byte(text[length])) ++length;
    if (length == 0 || length == text.size() || text[length] != '%') {
      result += '%';
      continue;
    }
    result += lookup(text.substr(0, length)).value_or(std::string());
    text.remove_prefix(length + 1);
  }
}

bool refers_to(std::string_view text, const std::string& name) {
  return text.find("$" + name) != std::string_view::npos ||
         text.find("${" + name) != std::string_view::npos ||
         text.find("%" + name) != std::string_view::npos;
}

}  // namespace

std::string expand(std::string_view text, const Lookup& lookup) {
  const std::string dollars = expand_dollars(text, lookup);
  return dollars.find('%') == std::string::npos ? dollars : expand_percents(dollars, lookup);
}

void expand_map(Variables& variables, const Lookup& outer) {
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const Variables before = variables;
    const Lookup lookup = [&](std::string_view name) -> std::optional<std::string> {
      if (std::optional<std::string> value = outer(name)) return value;
      const auto found = before.find(name);
      if (found == before.end()) return std::nullopt;
      return found->second;
    };
    bool changed = false;
    for (auto& [name, value] : variables) {
      if (value.find_first_of("$%") == std::string::npos) continue;
      std::string expanded = expand(value, lookup);
      if (expanded == value || refers_to(expanded, name)) continue;
      value = std::move(expanded);
      changed = true;
    }
    if (!changed) return;
  }
}

}  // namespace cirrus::agent
