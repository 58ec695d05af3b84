// SPDX-License-Identifier: MIT
// Compiled regular expressions of one evaluation: tasks of a matrix repeat their conditions.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.h"
#include "lang/limits.h"

namespace re2 {
class RE2;
}

namespace cirrus::lang {

/// Not thread-safe; lives as long as one evaluation.
class PatternCache {
 public:
  PatternCache();
  ~PatternCache();
  PatternCache(const PatternCache&) = delete;
  PatternCache& operator=(const PatternCache&) = delete;

  /// `=~`: `pattern` between `^` and `$`, ignoring case, dot matching newlines; no group around it,
  /// so `a|b` means "starts with a, or ends with b". Source: reference CLI.
  Result<bool> matches(std::string_view text, std::string_view pattern, Budget& budget);
  /// Whole-path match of a path pattern.
  Result<bool> matches_path(std::string_view path, std::string_view pattern, Budget& budget);

 private:
  Result<const re2::RE2*> compiled(const std::string& regex, std::string_view shown);
  Result<bool> run(const re2::RE2& regex, std::string_view text, Budget& budget);

  std::unordered_map<std::string, std::unique_ptr<re2::RE2>> compiled_;
  std::unordered_map<std::string, std::string> paths_;  ///< path pattern to regular expression
};

}  // namespace cirrus::lang
