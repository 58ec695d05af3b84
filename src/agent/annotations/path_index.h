// SPDX-License-Identifier: MIT
// PathIndex: which file a report means.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "base/stop.h"

namespace cirrus::agent {

/// Base names of the files below a directory. Immutable after construction.
class PathIndex {
 public:
  /// Ours: files looked at; larger trees are indexed in part.
  static constexpr std::size_t kMostFiles = 200'000;

  /// Walks `root` without following links; what cannot be read is passed over.
  PathIndex(std::filesystem::path root, const StopToken& stop);

  /// `path` relative to the root if it is there; else the indexed file with its base name; else
  /// what it was, without the root in front.
  std::string fix(const std::string& path) const;

 private:
  const std::filesystem::path root_;
  std::map<std::string, std::string, std::less<>> by_name_;  // the first in the order of the walk
};

}  // namespace cirrus::agent
