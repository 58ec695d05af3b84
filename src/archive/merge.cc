// SPDX-License-Identifier: MIT
#include "archive/merge.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <memory>
#include <string>
#include <vector>

#include "os/fd.h"

namespace cirrus::archive {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

Result<std::vector<std::string>> names_in(int directory) {
  const int again = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, CloseDirectory> stream(again < 0 ? nullptr : ::fdopendir(again));
  if (!stream) return errno_error(errno, "cannot read a directory");
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

Result<os::Fd> open_directory(int parent, const std::string& name) {
  os::Fd directory(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (directory.valid()) return directory;
  if (errno == ELOOP || errno == ENOTDIR) {
    return error(Code::FailedPrecondition,
                 "'{}' should be a directory, but a link or a file stands there", name);
  }
  return errno_error(errno, "cannot open the directory '{}'", name);
}

/// For a mount point below the destination: what cannot be moved is copied.
Status copy_over(int from, int to, const std::string& name, const struct stat& facts) {
  if (S_ISLNK(facts.st_mode)) {
    std::array<char, PATH_MAX> target{};
    const ssize_t size = ::readlinkat(from, name.c_str(), target.data(), target.size() - 1);
    if (size < 0 || ::symlinkat(target.data(), to, name.c_str()) != 0) {
      return errno_error(errno, "cannot copy the link '{}'", name);
    }
    return {};
  }
  const os::Fd source(::openat(from, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!source.valid()) return errno_error(errno, "cannot read '{}'", name);
  if (::unlinkat(to, name.c_str(), 0) != 0 && errno != ENOENT) {
    return errno_error(errno, "cannot replace '{}'", name);
  }
  const os::Fd target(::openat(to, name.c_str(),
                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                               facts.st_mode & 0777U));
  if (!target.valid()) return errno_error(errno, "cannot make '{}'", name);
  std::array<char, 64 * 1024> buffer{};
  for (;;) {
    const std::size_t got = CIRRUS_TRY(os::read_some(source.get(), buffer));
    if (got == 0) return {};
    CIRRUS_TRY(os::write_all(target.get(), {buffer.data(), got}));
  }
}

Status merge(int from, int to);

Status merge_one(int from, int to, const std::string& name) {
  struct stat facts {};
  if (::fstatat(from, name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error(errno, "cannot look at '{}'", name);
  }
  struct stat there {};
  const bool exists = ::fstatat(to, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0;
  if (S_ISDIR(facts.st_mode)) {
    if (!exists && ::renameat(from, name.c_str(), to, name.c_str()) == 0) return {};
    if (!exists && ::mkdirat(to, name.c_str(), 0755) != 0 && errno != EEXIST) {
      return errno_error(errno, "cannot make the directory '{}'", name);
    }
    const os::Fd from_child = CIRRUS_TRY(open_directory(from, name));
    const os::Fd to_child = CIRRUS_TRY(open_directory(to, name));
    return merge(from_child.get(), to_child.get());
  }
  if (exists && S_ISDIR(there.st_mode)) {
    return error(Code::FailedPrecondition, "'{}' should be a file, but is a directory", name);
  }
  if (exists && S_ISLNK(facts.st_mode) && S_ISLNK(there.st_mode)) return {};
  if (::renameat(from, name.c_str(), to, name.c_str()) == 0) return {};
  if (errno == EXDEV) return copy_over(from, to, name, facts);
  return errno_error(errno, "cannot put '{}' into place", name);
}

Status merge(int from, int to) {
  for (const std::string& name : CIRRUS_TRY(names_in(from))) CIRRUS_TRY(merge_one(from, to, name));
  return {};
}

}  // namespace

Status move_into(const std::filesystem::path& from, const std::filesystem::path& to) {
  const os::Fd source = CIRRUS_TRY(os::open_file(from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  const os::Fd target = CIRRUS_TRY(os::open_file(to, O_RDONLY | O_DIRECTORY));
  return merge(source.get(), target.get());
}

}  // namespace cirrus::archive
