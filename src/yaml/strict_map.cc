// SPDX-License-Identifier: MIT
#include "yaml/strict_map.h"

#include <algorithm>

#include "base/strings.h"

namespace cirrus::yaml {
namespace {

constexpr int kMaxMergeDepth = 20;  ///< Ours: merges of merges; real files use two.

const std::string& text_of(const Entry& entry) {
  return entry.key->resolved().text;
}

}  // namespace

Result<StrictMap> StrictMap::create(const Node& node, std::string what) {
  StrictMap map(std::move(what), node.mark);
  if (node.is_null()) return map;
  if (!node.is_map()) {
    return error(Code::InvalidArgument, "{} at {} must be a map, found {}", map.what_,
                 to_string(node.mark), describe(node));
  }
  CIRRUS_TRY(map.add(node, /*merged=*/false, 0));
  return map;
}

Status StrictMap::add(const Node& node, bool merged, int depth) {
  if (depth > kMaxMergeDepth) {
    return error(Code::InvalidArgument, "merge keys in {} at {} are nested too deeply", what_,
                 to_string(node.mark));
  }
  const Node& map = node.resolved();
  for (const Entry& entry : map.entries) {
    if (!entry.key->is_scalar()) {
      return error(Code::InvalidArgument, "key at {} in {} must be text, found {}",
                   to_string(entry.key->mark), what_, describe(*entry.key));
    }
    if (scalar_type(entry.key->resolved()) == ScalarType::Merge) continue;
    if (!has(text_of(entry))) {
      entries_.push_back(entry);
    } else if (!merged) {
      return error(Code::InvalidArgument, "key '{}' in {} is written twice, again at {}",
                   text_of(entry), what_, to_string(entry.key->mark));
    }
  }
  // Own keys first, wherever `<<` stands, so that they always win.
  for (const Entry& entry : map.entries) {
    if (scalar_type(entry.key->resolved()) == ScalarType::Merge) {
      CIRRUS_TRY(add_merged(*entry.value, depth));
    }
  }
  return {};
}

Status StrictMap::add_merged(const Node& value, int depth) {
  if (value.is_map() && !value.recursive) return add(value, /*merged=*/true, depth + 1);
  if (value.is_list()) {
    for (const Node* item : value.resolved().items) {
      if (!item->is_map() || item->recursive) return add_merged(*item, depth);
      CIRRUS_TRY(add(*item, /*merged=*/true, depth + 1));
    }
    return {};
  }
  return error(Code::InvalidArgument, "'<<' in {} at {} needs a map or a list of maps", what_,
               to_string(value.mark));
}

bool StrictMap::has(std::string_view key) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return text_of(entry) == key; });
}

const Node* StrictMap::take(std::string_view key) {
  known_.emplace_back(key);
  for (const Entry& entry : entries_) {
    if (text_of(entry) == key) return &entry.value->resolved();
  }
  return nullptr;
}

Result<std::string> StrictMap::take_text(std::string_view key, std::string fallback) {
  const Node* value = take(key);
  if (value == nullptr || value->is_null()) return fallback;
  if (!value->is_scalar()) {
    return error(Code::InvalidArgument, "'{}' in {} at {} must be text, found {}", key, what_,
                 to_string(value->mark), describe(*value));
  }
  return value->text;
}

Status StrictMap::finish() const {
  for (const Entry& entry : entries_) {
    const std::string& key = text_of(entry);
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string near = nearest_name(key, known_);
    return error(Code::InvalidArgument, "unknown key '{}' in {} at {}{}", key, what_,
                 to_string(entry.key->mark),
                 near.empty() ? "" : fmt::format(", did you mean '{}'?", near));
  }
  return {};
}

}  // namespace cirrus::yaml
