// SPDX-License-Identifier: MIT
// One cgroup (v2) per task, so that a whole tree dies at once.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace cirrus::os {

/// A cgroup v2 directory of ours. The group outlives this object: it is removed by name, so that
/// a restarted worker can end a task it did not start.
class Cgroup {
 public:
  /// Makes `<v2 mount>/<our own group>/cirrus-<name>`. Errors: NotFound where no v2 tree is
  /// mounted, PermissionDenied where it is not delegated to us.
  static Result<Cgroup> create(std::string_view name);
  /// An existing one, by the path `create` gave.
  static Cgroup at(std::filesystem::path path) { return Cgroup(std::move(path)); }

  const std::filesystem::path& path() const { return path_; }
  Status add(pid_t pid) const;
  /// Kills every process inside. Errors: NotFound if there is no such group (any more).
  Status kill() const;
  bool empty() const;
  /// Removes the (empty) group. A group that is gone is success.
  Status remove() const;

 private:
  explicit Cgroup(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace cirrus::os
