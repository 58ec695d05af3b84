// SPDX-License-Identifier: MIT
#include "os/temp_dir.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>

#include "base/ids.h"
#include "os/files.h"

namespace cirrus::os {

std::filesystem::path temporary_root() {
  const char* configured = std::getenv("TMPDIR");
  return configured != nullptr && *configured != '\0' ? configured : "/tmp";
}

Result<TempDir> TempDir::create(std::string_view prefix, const std::filesystem::path& parent) {
  const std::filesystem::path root = parent.empty() ? temporary_root() : parent;
  for (int attempt = 0; attempt < 16; ++attempt) {
    std::filesystem::path path = root / (std::string(prefix) + "-" + random_hex(6));
    if (::mkdir(path.c_str(), 0700) == 0) return TempDir(std::move(path));
    if (errno != EEXIST) return errno_error(errno, "cannot create '{}'", path.string());
  }
  return error(Code::AlreadyExists, "no free name below '{}'", root.string());
}

TempDir& TempDir::operator=(TempDir&& other) noexcept {
  if (this != &other) {
    if (!path_.empty()) (void)remove_tree(path_);
    path_ = std::exchange(other.path_, {});
  }
  return *this;
}

TempDir::~TempDir() {
  if (!path_.empty()) (void)remove_tree(path_);
}

}  // namespace cirrus::os
