// SPDX-License-Identifier: MIT
#include "worker/settings_reader.h"

#include <charconv>
#include <chrono>
#include <cmath>

namespace cirrus::worker {

namespace {

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words) {
    if (text == word) return true;
  }
  return false;
}

// The word in lower case, Capital or UPPER case.
bool is_spelling(std::string_view text, std::string_view word) {
  if (text.size() != word.size()) return false;
  bool lower = true;
  bool upper = true;
  bool capital = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char l = word[i];
    const char u = static_cast<char>(l - 'a' + 'A');
    lower = lower && text[i] == l;
    upper = upper && text[i] == u;
    capital = capital && text[i] == (i == 0 ? u : l);
  }
  return lower || upper || capital;
}

// A value on one line; maps sorted by key.
std::string text_of(const yaml::Node& node) {
  const yaml::Node& real = node.resolved();
  if (real.is_scalar()) return real.is_null() ? "null" : real.text;
  std::string text;
  if (real.is_list()) {
    for (const yaml::Node* item : real.items) text += (text.empty() ? "" : ", ") + text_of(*item);
    return "[" + text + "]";
  }
  std::map<std::string, std::string> sorted;
  if (const Result<yaml::StrictMap> map = yaml::StrictMap::create(node, ""); map.ok()) {
    for (const yaml::Entry& entry : map.value().entries()) {
      sorted[entry.key->resolved().text] = text_of(*entry.value);
    }
  }
  for (const auto& [key, value] : sorted) text += (text.empty() ? "" : ", ") + key + ": " + value;
  return "{" + text + "}";
}

void add_written(const yaml::Node& node, const std::string& name,
                 std::map<std::string, std::string>& keys) {
  const Result<yaml::StrictMap> map = yaml::StrictMap::create(node, "");
  const bool has_keys = node.is_map() && map.ok() && !map.value().entries().empty();
  if (!has_keys) {
    if (!name.empty()) keys[name] = text_of(node);
    return;
  }
  for (const yaml::Entry& entry : map.value().entries()) {
    const std::string& key = entry.key->resolved().text;
    if (key == "token" || key == "upstreams") continue;
    add_written(*entry.value, name.empty() ? key : name + "." + key, keys);
  }
}

}  // namespace

Error at(const std::string& file, yaml::Mark mark, std::string_view message) {
  return error(Code::InvalidArgument, "{}:{}: {}", file, yaml::to_string(mark), message);
}

Result<yaml::StrictMap> open_map(const yaml::Node& node, const std::string& file,
                                 const std::string& what) {
  return yaml::StrictMap::create(node, what).note("{}", file);
}

Status close_map(const yaml::StrictMap& map, const std::string& file) {
  return map.finish().note("{}", file);
}

Result<std::string> take_text(yaml::StrictMap& map, std::string_view key, std::string fallback,
                              const std::string& file) {
  return map.take_text(key, std::move(fallback)).note("{}", file);
}

Result<bool> take_bool(yaml::StrictMap& map, std::string_view key, bool fallback,
                       const std::string& file) {
  const yaml::Node* node = map.take(key);
  if (node == nullptr || node->is_null()) return fallback;
  if (node->is_scalar()) {
    const yaml::Node& scalar = node->resolved();
    if (scalar.style == yaml::Style::Plain) {
      if (is_spelling(scalar.text, "true")) return true;
      if (is_spelling(scalar.text, "false")) return false;
    }
    for (const std::string_view word : {"y", "yes", "on"}) {
      if (is_spelling(scalar.text, word)) return true;
    }
    for (const std::string_view word : {"n", "no", "off"}) {
      if (is_spelling(scalar.text, word)) return false;
    }
  }
  return at(file, node->mark, fmt::format("'{}' must be true or false", key));
}

Result<std::vector<std::string>> take_list(yaml::StrictMap& map, std::string_view key,
                                           const std::string& file) {
  std::vector<std::string> items;
  const yaml::Node* node = map.take(key);
  if (node == nullptr || node->is_null()) return items;
  if (!node->is_list()) return at(file, node->mark, fmt::format("'{}' must be a list", key));
  for (const yaml::Node* item : node->resolved().items) {
    if (!item->is_scalar()) {
      return at(file, item->mark, fmt::format("an item of '{}' must be text", key));
    }
    items.push_back(item->resolved().text);
  }
  return items;
}

Result<std::optional<std::map<std::string, std::string>>> take_text_map(yaml::StrictMap& map,
                                                                        std::string_view key,
                                                                        const std::string& file) {
  const yaml::Node* node = map.take(key);
  if (node == nullptr) return std::optional<std::map<std::string, std::string>>();
  std::map<std::string, std::string> values;
  if (node->is_null()) return std::optional(values);
  const yaml::StrictMap inner = CIRRUS_TRY(open_map(*node, file, std::string(key)));
  for (const yaml::Entry& entry : inner.entries()) {
    if (!entry.value->is_scalar()) {
      return at(file, entry.value->mark,
                fmt::format("'{}' in '{}' must be text", entry.key->resolved().text, key));
    }
    values.insert_or_assign(entry.key->resolved().text, entry.value->resolved().text);
  }
  return std::optional(values);
}

Result<std::optional<std::map<std::string, double>>> take_number_map(yaml::StrictMap& map,
                                                                     std::string_view key,
                                                                     const std::string& file) {
  const yaml::Node* node = map.take(key);
  if (node == nullptr) return std::optional<std::map<std::string, double>>();
  std::map<std::string, double> values;
  if (node->is_null()) return std::optional(values);
  const yaml::StrictMap inner = CIRRUS_TRY(open_map(*node, file, std::string(key)));
  for (const yaml::Entry& entry : inner.entries()) {
    const std::string& name = entry.key->resolved().text;
    const bool plain =
        entry.value->is_scalar() && entry.value->resolved().style == yaml::Style::Plain;
    const std::string text = plain ? entry.value->resolved().text : "";
    double number = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    if (!plain || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() ||
        !std::isfinite(number) || number < 0) {
      return at(file, entry.value->mark,
                fmt::format("'{}' in '{}' must be a number of 0 or more", name, key));
    }
    values.insert_or_assign(name, number);
  }
  return std::optional(values);
}

std::map<std::string, std::string> written_keys(const yaml::Node& root) {
  std::map<std::string, std::string> keys;
  add_written(root, "", keys);
  return keys;
}

Result<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  const auto failed = [&] {
    return error(Code::InvalidArgument, "'{}' is no duration: write it like 90s, 5m or 1h30m",
                 text);
  };
  double total = 0;
  std::string_view rest = text;
  if (rest.empty()) return failed();
  while (!rest.empty()) {
    double number = 0;
    const auto parsed =
        std::from_chars(rest.data(), rest.data() + rest.size(), number, std::chars_format::fixed);
    if (parsed.ec != std::errc() || number < 0) return failed();
    rest.remove_prefix(static_cast<std::size_t>(parsed.ptr - rest.data()));
    const std::size_t end = std::min(rest.find_first_of("0123456789."), rest.size());
    const std::string_view unit = rest.substr(0, end);
    double scale = 0;
    if (unit == "ns") scale = 1;
    if (is_one_of(unit, {"us", "\xC2\xB5s"})) scale = 1e3;
    if (unit == "ms") scale = 1e6;
    if (unit == "s") scale = 1e9;
    if (unit == "m") scale = 60e9;
    if (unit == "h") scale = 3600e9;
    if (scale == 0) return failed();
    total += number * scale;
    rest.remove_prefix(end);
  }
  if (total > 9e18) return failed();
  return std::chrono::nanoseconds(static_cast<std::int64_t>(total));
}

}  // namespace cirrus::worker
