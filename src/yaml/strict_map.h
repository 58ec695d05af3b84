// SPDX-License-Identifier: MIT
// Strict reading of a settings map: every key is asked for, what nobody asked for is an error.
// For files we define ourselves; the `.cirrus.yml` language is lenient and does not use this.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "yaml/tree.h"

namespace cirrus::yaml {

/// One map being read. Take every known key, then call `finish`. Aliases are looked through and
/// `<<` is applied (own keys win, then the first of several). `what` names the map in messages.
class StrictMap {
 public:
  /// Errors: InvalidArgument if `node` is no map (null counts as an empty one), a key is no
  /// scalar, or a key is written twice. Cost: linear in the number of entries times its log.
  static Result<StrictMap> create(const Node& node, std::string what);

  /// The value of `key`, or null if it is absent. Marks the key as known.
  const Node* take(std::string_view key);

  /// The text of scalar `key`; `fallback` if absent or null.
  /// Errors: InvalidArgument with the position if it is a map or a list.
  Result<std::string> take_text(std::string_view key, std::string fallback = {});

  /// Errors: InvalidArgument `unknown key 'x' in <what> at line:col, did you mean 'y'?` for the
  /// first key that was never asked for. The suggestions are the keys that were.
  Status finish() const;

  /// The entries in document order, merged ones last; for maps with free keys.
  const std::vector<Entry>& entries() const { return entries_; }
  Mark mark() const { return mark_; }

 private:
  StrictMap(std::string what, Mark mark) : what_(std::move(what)), mark_(mark) {}
  Status add(const Node& map, bool merged, int depth);
  Status add_merged(const Node& value, int depth);
  bool has(std::string_view key) const;

  std::string what_;
  Mark mark_;
  std::vector<Entry> entries_;
  std::vector<std::string> known_;
};

}  // namespace cirrus::yaml
