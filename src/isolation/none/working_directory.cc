// SPDX-License-Identifier: MIT
#include "isolation/none/working_directory.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <functional>

#include "base/fail_point.h"
#include "os/fd.h"
#include "os/files.h"
#include "os/reach.h"
#include "os/rename.h"
#include "os/temp_dir.h"

namespace cirrus::isolation {

namespace {

constexpr char kFixedName[] = "cirrus-build";

// Names one directory for as long as it exists.
std::string identity_of(const struct stat& facts) {
  return fmt::format("{}:{}", facts.st_dev, facts.st_ino);
}

}  // namespace

TaskDirectories TaskDirectories::of(const std::string& task_cookie,
                                    const std::filesystem::path& root,
                                    std::filesystem::path ledger) {
  // Not the cookie itself: everybody can see the name.
  const std::string name =
      fmt::format("{:016x}", std::hash<std::string>()(task_cookie + ledger.string()));
  return {root / fmt::format("{}-{}", kFixedName, name), root / ("cirrus-scratch-" + name),
          std::move(ledger)};
}

Result<std::filesystem::path> place_for(const std::optional<os::User>& user) {
  const std::filesystem::path usual = os::temporary_root();
  if (!user || os::may_write_in(usual, *user)) return usual;
  const std::filesystem::path common = "/tmp";
  if (os::may_write_in(common, *user)) return common;
  return error(Code::PermissionDenied,
               "the tasks' user '{}' can make files neither in '{}' nor in '{}': set TMPDIR of the "
               "worker to a directory that this user may write in",
               user->name, usual.string(), common.string());
}

Result<std::filesystem::path> make_working_directory(const TaskDirectories& directories) {
  const std::filesystem::path root = directories.own_name.parent_path();
  const std::string name = directories.own_name.filename().string();
  const os::Fd parent = CIRRUS_TRY(os::open_file(root, O_PATH | O_DIRECTORY)
                                       .note("looking for a place for working directories"));
  if (::mkdirat(parent.get(), name.c_str(), 0700) != 0) {
    return errno_error(errno, "cannot create the working directory '{}'",
                       directories.own_name.string());
  }
  crash_point("none.directory.made");
  struct stat facts = {};
  if (::fstatat(parent.get(), name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error(errno, "cannot look at '{}'", directories.own_name.string());
  }
  CIRRUS_TRY(os::write_file(directories.ledger, identity_of(facts)));
  crash_point("none.directory.noted");
  // The rename decides the race for the fixed name; it fails on whatever is there.
  const bool renamed = os::rename_to_free_name(parent, name, kFixedName);
  crash_point("none.directory.named");
  return renamed ? root / kFixedName : directories.own_name;
}

Status make_scratch_directory(const TaskDirectories& directories) {
  if (::mkdir(directories.scratch.c_str(), 0700) == 0) return {};
  return errno_error(errno, "cannot create '{}'", directories.scratch.string());
}

Status remove_earlier(const TaskDirectories& directories) {
  CIRRUS_TRY(os::remove_tree(directories.own_name));
  CIRRUS_TRY(os::remove_tree(directories.scratch));
  const Result<std::string> noted = os::read_file(directories.ledger, 256);
  if (!noted.ok()) return {};
  const std::filesystem::path fixed = directories.own_name.parent_path() / kFixedName;
  struct stat facts = {};
  if (::lstat(fixed.c_str(), &facts) == 0 && identity_of(facts) == noted.value()) {
    CIRRUS_TRY(os::remove_tree(fixed));
  }
  return {};
}

}  // namespace cirrus::isolation
