// SPDX-License-Identifier: MIT
#include "agent/cache_folders.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "agent/glob.h"
#include "base/digest.h"
#include "os/fd.h"

namespace cirrus::agent {
namespace {

namespace fs = std::filesystem;

// Source: reference agent: `?`, `[]` and `{}` alone are ordinary letters of a folder's name.
bool is_pattern(const std::string& folder) {
  return folder.find('*') != std::string::npos;
}

bool is_below(const fs::path& path, const fs::path& directory) {
  const std::string prefix = directory == "/" ? "/" : directory.string() + "/";
  return path.string().starts_with(prefix);
}

/// Without `.`, `..` and a slash at the end.
fs::path normal(const fs::path& path) {
  fs::path clean = path.lexically_normal();
  return clean.has_filename() || clean == "/" ? clean : clean.parent_path();
}

std::int64_t nanos(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

Status add_file(const fs::path& base, const fs::path& file, Snapshot& snapshot) {
  struct stat facts {};
  if (::lstat(file.c_str(), &facts) != 0) {
    if (errno == ENOENT) return {};
    return errno_error(errno, "cannot look at '{}'", file.string());
  }
  if (!S_ISREG(facts.st_mode) && !S_ISLNK(facts.st_mode)) return {};
  FileMark mark{static_cast<std::uint64_t>(facts.st_size),
                nanos(facts.st_mtim),
                nanos(facts.st_ctim),
                facts.st_ino,
                {}};
  if (S_ISLNK(facts.st_mode)) {
    std::error_code failure;
    mark.digest = "link to " + fs::read_symlink(file, failure).string();
  }
  snapshot.emplace(file.lexically_relative(base).string(), std::move(mark));
  return {};
}

Result<std::string> digest_of(const fs::path& file, const StopToken& stop) {
  const os::Fd input = CIRRUS_TRY(os::open_file(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  Sha256 digest;
  std::vector<char> buffer(256 * 1024);
  for (;;) {
    if (stop.stop_requested()) return error(Code::Cancelled, "looking for changes was stopped");
    const std::size_t got = CIRRUS_TRY(os::read_some(input.get(), buffer));
    if (got == 0) return digest.hex();
    digest.update({buffer.data(), got});
  }
}

bool same_facts(const FileMark& a, const FileMark& b) {
  return a.size == b.size && a.modified_nanos == b.modified_nanos &&
         a.changed_nanos == b.changed_nanos && a.inode == b.inode;
}

}  // namespace

Result<CacheFolders> CacheFolders::plan(
    const std::vector<std::string>& folders, const fs::path& working_directory,
    const std::function<std::string(const std::string&)>& expand) {
  CacheFolders plan;
  const fs::path inside = normal(working_directory);
  for (const std::string& folder : folders) {
    fs::path path = expand(folder);
    if (path.is_relative()) path = inside / path;
    plan.patterns.push_back(normal(path).string());
  }
  if (plan.patterns.empty()) return error(Code::InvalidArgument, "the cache names no folder");
  if (plan.patterns.size() == 1 && !is_pattern(plan.patterns.front())) {
    plan.base = plan.patterns.front();
    return plan;
  }
  plan.base = inside;
  for (const std::string& pattern : plan.patterns) {
    if (pattern == inside || is_below(pattern, inside)) continue;
    return error(Code::InvalidArgument,
                 "the folder '{}' is outside of the working directory '{}'; only a cache with one "
                 "folder and without '*' may be elsewhere",
                 pattern, inside.string());
  }
  return plan;
}

Result<std::vector<fs::path>> CacheFolders::existing(const StopToken& stop) const {
  std::vector<fs::path> paths;
  for (const std::string& pattern : patterns) {
    if (!is_pattern(pattern)) {
      std::error_code failure;
      // A link to a directory is the directory.
      if (fs::exists(fs::symlink_status(pattern, failure))) paths.emplace_back(pattern);
      continue;
    }
    std::vector<fs::path> found = CIRRUS_TRY(glob(pattern, stop));
    for (fs::path& path : found) {
      if (path != base) paths.push_back(std::move(path));
    }
  }
  return without_nested(std::move(paths));
}

std::vector<fs::path> without_nested(std::vector<fs::path> paths) {
  std::sort(paths.begin(), paths.end());
  std::vector<fs::path> kept;
  // Sorted by component: whatever lies below one follows it at once.
  for (fs::path& path : paths) {
    if (!kept.empty() && (path == kept.back() || is_below(path, kept.back()))) continue;
    kept.push_back(std::move(path));
  }
  return kept;
}

Result<Snapshot> look_at(const fs::path& base, const std::vector<fs::path>& roots,
                         const StopToken& stop) {
  Snapshot snapshot;
  for (const fs::path& root : roots) {
    std::error_code failure;
    // Only the one folder of a cache is looked through if it is a link.
    const fs::file_status status =
        root == base ? fs::status(root, failure) : fs::symlink_status(root, failure);
    if (!fs::is_directory(status)) {
      CIRRUS_TRY(add_file(base, root, snapshot));
      continue;
    }
    auto entry = fs::recursive_directory_iterator(root, failure);
    fs::path last = root;  // a directory that cannot be entered is the one that came last
    for (; !failure && entry != fs::recursive_directory_iterator(); entry.increment(failure)) {
      if (stop.stop_requested()) return error(Code::Cancelled, "looking for changes was stopped");
      last = entry->path();
      CIRRUS_TRY(add_file(base, last, snapshot));
    }
    if (failure) {
      return errno_error(failure.value(), "cannot look through '{}'", last.string());
    }
  }
  return snapshot;
}

Result<Changes> compare(const fs::path& base, const Snapshot& before, const Snapshot& after,
                        const StopToken& stop) {
  Changes changes;
  for (const auto& [name, mark] : before) {
    if (!after.contains(name)) changes.deleted.push_back(name);
  }
  for (const auto& [name, mark] : after) {
    const auto old = before.find(name);
    if (old == before.end()) {
      changes.created.push_back(name);
      continue;
    }
    if (same_facts(old->second, mark)) continue;
    bool same = !old->second.digest.empty() && old->second.size == mark.size;
    if (same) {
      const std::string digest =
          mark.digest.empty() ? CIRRUS_TRY(digest_of(base / name, stop)) : mark.digest;
      same = digest == old->second.digest;
    }
    if (!same) changes.modified.push_back(name);
  }
  return changes;
}

}  // namespace cirrus::agent
