// SPDX-License-Identifier: MIT
// Scalar resolution: which plain texts are not strings.
#include <algorithm>
#include <array>

#include "yaml/tree.h"

namespace cirrus::yaml {
namespace {

constexpr std::string_view kCorePrefix = "tag:yaml.org,2002:";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

template <std::size_t N>
bool one_of(std::string_view text, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), text) != names.end();
}

/// Digits of `base` with `_` between them.
bool all_digits(std::string_view text, int base) {
  bool any = false;
  for (const char c : text) {
    if (c == '_') continue;
    const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    const int value = is_digit(lower)                ? lower - '0'
                      : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10
                                                     : 99;
    if (value >= base) return false;
    any = true;
  }
  return any;
}

std::string_view without_sign(std::string_view text) {
  if (!text.empty() && (text.front() == '+' || text.front() == '-')) text.remove_prefix(1);
  return text;
}

bool is_integer(std::string_view text) {
  text = without_sign(text);
  if (text.size() > 2 && text[0] == '0') {
    if (text[1] == 'x') return all_digits(text.substr(2), 16);
    if (text[1] == 'o') return all_digits(text.substr(2), 8);
    if (text[1] == 'b') return all_digits(text.substr(2), 2);
  }
  return !text.empty() && is_digit(text.front()) && all_digits(text, 10);
}

bool is_float(std::string_view text) {
  static constexpr std::array<std::string_view, 3> kInfinity = {".inf", ".Inf", ".INF"};
  static constexpr std::array<std::string_view, 3> kNan = {".nan", ".NaN", ".NAN"};
  if (one_of(text, kNan) || one_of(without_sign(text), kInfinity)) return true;
  text = without_sign(text);
  std::size_t at = 0;
  std::size_t digits = 0;
  for (; at < text.size() && (is_digit(text[at]) || text[at] == '_'); ++at)
    digits += text[at] != '_';
  if (at < text.size() && text[at] == '.') {
    for (++at; at < text.size() && (is_digit(text[at]) || text[at] == '_'); ++at)
      digits += text[at] != '_';
  }
  if (digits == 0 || text.front() == '_') return false;
  if (at == text.size()) return true;
  if (text[at] != 'e' && text[at] != 'E') return false;
  const std::string_view exponent = without_sign(text.substr(at + 1));
  return !exponent.empty() && std::all_of(exponent.begin(), exponent.end(), is_digit);
}

/// Reads between `low` and `high` digits; false if there are not that many.
bool skip_digits(std::string_view& text, std::size_t low, std::size_t high) {
  std::size_t count = 0;
  while (count < text.size() && count < high && is_digit(text[count])) ++count;
  text.remove_prefix(count);
  return count >= low;
}

bool skip_char(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

/// A date, or a date and a time with an optional zone. The calendar is not checked.
bool is_timestamp(std::string_view text) {
  if (!skip_digits(text, 4, 4) || !skip_char(text, "-") || !skip_digits(text, 1, 2) ||
      !skip_char(text, "-") || !skip_digits(text, 1, 2)) {
    return false;
  }
  if (text.empty()) return true;
  if (!skip_char(text, "Tt ") || !skip_digits(text, 1, 2) || !skip_char(text, ":") ||
      !skip_digits(text, 1, 2) || !skip_char(text, ":") || !skip_digits(text, 1, 2)) {
    return false;
  }
  if (skip_char(text, ".")) skip_digits(text, 0, 9);
  skip_char(text, " ");
  if (text.empty() || text == "Z") return true;
  return skip_char(text, "+-") && skip_digits(text, 1, 2) &&
         (text.empty() || (skip_char(text, ":") && skip_digits(text, 2, 2) && text.empty()));
}

}  // namespace

ScalarType scalar_type(const Node& node) {
  static constexpr std::array<std::string_view, 5> kNull = {"", "~", "null", "Null", "NULL"};
  static constexpr std::array<std::string_view, 6> kBool = {"true",  "True",  "TRUE",
                                                            "false", "False", "FALSE"};
  if (!node.tag.empty()) {
    const std::string_view tag = node.tag;
    if (!tag.starts_with(kCorePrefix)) return ScalarType::Other;
    const std::string_view name = tag.substr(kCorePrefix.size());
    if (name == "str") return ScalarType::String;
    if (name == "null") return ScalarType::Null;
    if (name == "merge") return ScalarType::Merge;
    if (name == "bool") return ScalarType::Bool;
    if (name == "int") return ScalarType::Integer;
    if (name == "float") return ScalarType::Float;
    if (name == "timestamp") return ScalarType::Timestamp;
    return ScalarType::Other;
  }
  if (node.style != Style::Plain) return ScalarType::String;
  const std::string_view text = node.text;
  if (one_of(text, kNull)) return ScalarType::Null;
  if (text == "<<") return ScalarType::Merge;
  if (one_of(text, kBool)) return ScalarType::Bool;
  if (is_integer(text)) return ScalarType::Integer;
  if (is_float(text)) return ScalarType::Float;
  if (is_timestamp(text)) return ScalarType::Timestamp;
  return ScalarType::String;
}

}  // namespace cirrus::yaml
