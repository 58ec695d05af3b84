// SPDX-License-Identifier: MIT
// Which files a cache is made of, and whether they changed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/stop.h"

namespace cirrus::agent {

/// The folders of one cache instruction. Source: reference agent, cache folders.
struct CacheFolders {
  /// What names in the archive are relative to: the one folder, else the working directory.
  std::filesystem::path base;
  /// Absolute, with the patterns that have a `*` not yet looked up.
  std::vector<std::string> patterns;

  /// `expand` puts variables into a text. Errors: InvalidArgument for a folder outside of the
  /// working directory that is not the only one.
  static Result<CacheFolders> plan(const std::vector<std::string>& folders,
                                   const std::filesystem::path& working_directory,
                                   const std::function<std::string(const std::string&)>& expand);

  /// What exists of them now: sorted, without what lies below another one.
  Result<std::vector<std::filesystem::path>> existing(const StopToken& stop) const;
};

/// Without equal ones and without those below another one. Source: reference agent; ours: only
/// whole path components count.
std::vector<std::filesystem::path> without_nested(std::vector<std::filesystem::path> paths);

/// What is known of one file at one time.
struct FileMark {
  std::uint64_t size = 0;
  std::int64_t modified_nanos = 0;
  std::int64_t changed_nanos = 0;
  ino_t inode = 0;
  std::string digest;  ///< of the contents or of the link; empty: not taken
};

/// Files by their name relative to the base.
using Snapshot = std::map<std::string, FileMark>;

/// All files and links below `roots`, without reading them.
Result<Snapshot> look_at(const std::filesystem::path& base,
                         const std::vector<std::filesystem::path>& roots, const StopToken& stop);

/// How one state of the folders became another.
struct Changes {
  std::vector<std::string> created;
  std::vector<std::string> modified;
  std::vector<std::string> deleted;
  bool any() const { return !created.empty() || !modified.empty() || !deleted.empty(); }
};

/// Contents decide. Only files whose facts differ are read; one without a digest in `before` then
/// counts as modified.
Result<Changes> compare(const std::filesystem::path& base, const Snapshot& before,
                        const Snapshot& after, const StopToken& stop);

}  // namespace cirrus::agent
