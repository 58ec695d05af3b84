// SPDX-License-Identifier: MIT
// One control group per task, so that a whole tree dies at once.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace cirrus::os {

/// A control group of ours: of version 2, or of version 1's freezer where there is no other. The
/// group outlives this object: it is removed by name, so that a restarted worker can end a task it
/// did not start.
class Cgroup {
 public:
  /// Makes `<mount>/<our own group>/cirrus-<name>`, beside our own group if that is called
  /// `cirrus-self`. Errors: NotFound where neither tree is mounted, PermissionDenied where it is
  /// not delegated to us.
  static Result<Cgroup> create(std::string_view name);
  /// An existing one, by the path `create` gave.
  static Cgroup at(std::filesystem::path path) { return Cgroup(std::move(path)); }
  /// Removes groups that `create` made for a name that begins with `prefix`, but not with `spared`,
  /// and that hold no process: those of a worker which died before it wrote down what it had made.
  static void remove_abandoned(std::string_view prefix, std::string_view spared);

  const std::filesystem::path& path() const { return path_; }
  /// One of version 1.
  bool is_freezer() const;
  Status add(pid_t pid) const;
  /// How much of a busy processor it gets beside its neighbours, of which each has 100 unless told
  /// otherwise (1 to 10000). Enables the controller `cpu` for our groups where that harms nobody.
  /// Errors: NotFound where there is no such controller for us.
  Status set_cpu_weight(unsigned weight) const;
  /// Kills every process inside and in the groups below. What forks meanwhile is killed too, except
  /// on a freezer that does not freeze within a second: ask again until `empty`.
  /// Errors: NotFound if there is no such group (any more).
  Status kill() const;
  /// No process is inside or in a group below.
  bool empty() const;
  /// Removes the (empty) group and the groups below. A group that is gone is success.
  Status remove() const;

 private:
  explicit Cgroup(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace cirrus::os
