// SPDX-License-Identifier: MIT
// FileLock: flock(2) on a file. The lock ends with the last descriptor of it, so it also says
// whether a process that inherited it is alive.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "os/fd.h"

namespace cirrus::os {

class FileLock {
 public:
  /// Creates the file (mode 0600) if needed and locks it without waiting.
  /// Errors: AlreadyExists if somebody holds it.
  static Result<FileLock> try_acquire(const std::filesystem::path& path);
  /// True if somebody holds the lock now. False also if there is no such file.
  static bool is_held(const std::filesystem::path& path);

  /// For handing the lock to a child: the descriptor, still owned here.
  int descriptor() const { return fd_.get(); }

 private:
  explicit FileLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace cirrus::os
