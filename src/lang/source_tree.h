// SPDX-License-Identifier: MIT
// The repository files a configuration may refer to.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cirrus::lang {

/// Read access to a repository at one commit. Paths use `/`, are relative to the root and have no
/// leading or trailing slash; the empty path is the root. Calls may come in any order; an
/// implementation need not be thread-safe. Absence is not an error.
class SourceTree {
 public:
  virtual ~SourceTree() = default;
  /// The file's bytes, nothing if there is no such file. Errors: whatever kept it from looking.
  virtual Result<std::optional<std::string>> read(std::string_view path) const = 0;
  /// The names in a directory in byte order, nothing if there is no such directory.
  virtual Result<std::optional<std::vector<std::string>>> list(std::string_view path) const = 0;
};

/// A tree in memory; what the evaluation service gets, and what tests use.
class MemorySourceTree : public SourceTree {
 public:
  MemorySourceTree() = default;
  explicit MemorySourceTree(std::map<std::string, std::string> files);
  Result<std::optional<std::string>> read(std::string_view path) const override;
  Result<std::optional<std::vector<std::string>>> list(std::string_view path) const override;

 private:
  std::map<std::string, std::string, std::less<>> files_;  // constant after construction
};

}  // namespace cirrus::lang
