// SPDX-License-Identifier: MIT
// The ready file: JSON that says a long-running command serves, and where.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "base/result.h"

namespace cirrus::cli {

/// Written to a temporary name and renamed once everything serves; removed with its owner.
class ReadyFile {
 public:
  ReadyFile() = default;
  /// An empty path writes nothing. `pid` and `schema_version` are added to `fields`.
  static Result<ReadyFile> write(const std::filesystem::path& path,
                                 const std::map<std::string, std::string>& fields);
  ReadyFile(ReadyFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ReadyFile& operator=(ReadyFile&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~ReadyFile();

 private:
  std::filesystem::path path_;
};

}  // namespace cirrus::cli
