// SPDX-License-Identifier: MIT
#include "os/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

namespace cirrus::os {

Result<FileLock> FileLock::try_acquire(const std::filesystem::path& path) {
  Fd fd = CIRRUS_TRY(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) {
      return error(Code::AlreadyExists, "'{}' is locked by another process", path.string());
    }
    return errno_error(errno, "cannot lock '{}'", path.string());
  }
  return FileLock(std::move(fd));
}

bool FileLock::is_held(const std::filesystem::path& path) {
  const Result<Fd> fd = open_file(path, O_RDONLY | O_NOFOLLOW);
  if (!fd.ok()) return false;
  // A shared lock: two readers that ask at once must not see each other as the holder.
  if (::flock(fd.value().get(), LOCK_SH | LOCK_NB) == 0) return false;
  return errno == EWOULDBLOCK;
}

}  // namespace cirrus::os
