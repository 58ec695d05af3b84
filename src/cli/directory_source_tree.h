// SPDX-License-Identifier: MIT
// The files of a directory, as the configuration language sees them.
#pragma once

#include <filesystem>

#include "lang/source_tree.h"

namespace cirrus::cli {

/// Reads below `root` only: a path that leaves it, by `..` or by a symbolic link, does not exist.
/// Files over 64 MiB do not exist either; nobody hashes those into an image by accident.
class DirectorySourceTree : public lang::SourceTree {
 public:
  explicit DirectorySourceTree(const std::filesystem::path& root);
  Result<std::optional<std::string>> read(std::string_view path) const override;
  Result<std::optional<std::vector<std::string>>> list(std::string_view path) const override;

 private:
  /// The place on disk; nothing if it is outside or absent.
  std::optional<std::filesystem::path> locate(std::string_view path) const;

  std::filesystem::path root_;  // constant after construction, absolute, without links
};

}  // namespace cirrus::cli
