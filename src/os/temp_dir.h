// SPDX-License-Identifier: MIT
// TempDir: a private directory that goes away with its owner.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace cirrus::os {

/// Owns a new directory of mode 0700 and removes its tree. Move-only.
class TempDir {
 public:
  /// `<parent>/<prefix>-<random>`; parent defaults to $TMPDIR or /tmp.
  static Result<TempDir> create(std::string_view prefix, const std::filesystem::path& parent = {});
  TempDir(TempDir&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TempDir& operator=(TempDir&& other) noexcept;
  ~TempDir();

  const std::filesystem::path& path() const { return path_; }
  /// The directory stays; the caller owns it now.
  std::filesystem::path release() { return std::exchange(path_, {}); }

 private:
  explicit TempDir(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;  // empty: nothing owned
};

/// $TMPDIR if set, else /tmp.
std::filesystem::path temporary_root();

}  // namespace cirrus::os
