// SPDX-License-Identifier: MIT
#include "os/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/ids.h"
#include "os/fd.h"

namespace cirrus::os {

Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit) {
  const Fd fd = CIRRUS_TRY(open_file(path, O_RDONLY));
  std::string content;
  std::vector<char> buffer(64U << 10U);
  for (;;) {
    const std::size_t got =
        CIRRUS_TRY(read_some(fd.get(), buffer).note("reading '{}'", path.string()));
    if (got == 0) return content;
    if (content.size() + got > limit) {
      return error(Code::ResourceExhausted, "'{}' is larger than {} bytes", path.string(), limit);
    }
    content.append(buffer.data(), got);
  }
}

Status write_file(const std::filesystem::path& path, std::string_view content, unsigned mode,
                  bool durable) {
  const std::filesystem::path temporary = path.string() + ".tmp-" + random_hex(4);
  Status done = [&]() -> Status {
    const Fd fd = CIRRUS_TRY(open_file(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
    // The umask may have taken bits away that the caller asked for.
    if (::fchmod(fd.get(), mode) != 0) return errno_error(errno, "cannot set the mode");
    CIRRUS_TRY(write_all(fd.get(), content));
    if (durable && ::fsync(fd.get()) != 0) return errno_error(errno, "cannot sync");
    if (::rename(temporary.c_str(), path.c_str()) != 0) return errno_error(errno, "cannot rename");
    return {};
  }();
  if (!done.ok()) {
    ::unlink(temporary.c_str());
    return std::move(done).note("writing '{}'", path.string());
  }
  return durable ? sync_directory(path.parent_path().empty() ? "." : path.parent_path()) : Status();
}

Status sync_directory(const std::filesystem::path& path) {
  const Fd directory = CIRRUS_TRY(open_file(path, O_RDONLY));
  if (::fsync(directory.get()) == 0) return {};
  return errno_error(errno, "cannot sync the directory '{}'", path.string());
}

void begin_sync([[maybe_unused]] int fd) {
#ifdef __linux__
  (void)::sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
#endif
}

Status make_directories(const std::filesystem::path& path, unsigned mode) {
  if (::mkdir(path.c_str(), mode) == 0) return {};
  if (errno == ENOENT && path.has_parent_path() && path.parent_path() != path) {
    CIRRUS_TRY(make_directories(path.parent_path(), mode));
    if (::mkdir(path.c_str(), mode) == 0) return {};
  }
  const int failure = errno;
  struct stat info {};
  if (failure == EEXIST && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
  return errno_error(failure, "cannot create directory '{}'", path.string());
}

namespace {

// Opens a directory to list it, also one whose mode forbids that to its owner. A link that takes
// the name meanwhile is not followed.
int open_directory(int parent, const char* name) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const int fd = ::openat(parent, name, kFlags);
  if (fd >= 0 || errno != EACCES) return fd;
  if (::fchmodat(parent, name, 0700, AT_SYMLINK_NOFOLLOW) != 0) return -1;
  return ::openat(parent, name, kFlags);
}

// Removes what is in the directory `fd`. Descriptor-relative throughout, so a task that swaps a
// directory for a link while we clean up cannot lead us elsewhere. Depth is bounded by the open
// descriptors; deeper trees are renamed upwards by nobody, so 900 levels is an error.
Status remove_entries(int fd, int depth) {
  if (depth > 900) return error(Code::ResourceExhausted, "the tree is too deep to remove");
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return errno_error(errno, "cannot list a directory");
  DIR* list = ::fdopendir(copy);
  if (list == nullptr) {
    ::close(copy);
    return errno_error(errno, "cannot list a directory");
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(list)) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
      names.emplace_back(entry->d_name);
    }
  }
  ::closedir(list);
  Status first;
  for (const std::string& name : names) {
    if (::unlinkat(fd, name.c_str(), 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR && errno != EPERM) {
      if (errno == EACCES) (void)::fchmod(fd, 0700);
      if (::unlinkat(fd, name.c_str(), 0) == 0) continue;
    }
    const int child = open_directory(fd, name.c_str());
    if (child < 0) {
      if (first.ok()) first = errno_error(errno, "cannot remove '{}'", name);
      continue;
    }
    const Fd owned(child);
    Status inner = remove_entries(child, depth + 1);
    if (!inner.ok() && first.ok()) first = std::move(inner);
    if (::unlinkat(fd, name.c_str(), AT_REMOVEDIR) != 0) {
      (void)::fchmod(fd, 0700);
      if (::unlinkat(fd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT && first.ok()) {
        first = errno_error(errno, "cannot remove '{}'", name);
      }
    }
  }
  return first;
}

}  // namespace

Status remove_tree(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  const int number = open_directory(AT_FDCWD, path.c_str());
  if (number < 0) return errno_error(errno, "cannot remove '{}'", path.string());
  const Fd fd(number);
  CIRRUS_TRY(remove_entries(fd.get(), 0).note("removing '{}'", path.string()));
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) {
    return errno_error(errno, "cannot remove '{}'", path.string());
  }
  return {};
}

Result<bool> is_read_only(const std::filesystem::path& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) {
    return errno_error(errno, "cannot look at the file system of '{}'", path.string());
  }
  return (info.f_flag & ST_RDONLY) != 0;
}

Result<std::uint64_t> free_space(const std::filesystem::path& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) {
    return errno_error(errno, "cannot read the free space of '{}'", path.string());
  }
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

}  // namespace cirrus::os
