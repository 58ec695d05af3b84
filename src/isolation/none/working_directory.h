// SPDX-License-Identifier: MIT
// The directories of a task that runs on the machine itself, made so that none is ever lost.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "os/user.h"

namespace cirrus::isolation {

/// Where a task's directories are, or may be after a worker died while it made them. Names come
/// from the task's cookie, which nobody can guess: whatever bears one is this task's.
struct TaskDirectories {
  /// `ledger` is a file of the task's own that says which directory became `cirrus-build`.
  /// `root` is what `place_for` chose.
  static TaskDirectories of(const std::string& task_cookie, const std::filesystem::path& root,
                            std::filesystem::path ledger);

  std::filesystem::path own_name;  ///< `<root>/cirrus-build-<name>`
  std::filesystem::path scratch;   ///< `<root>/cirrus-scratch-<name>`
  std::filesystem::path ledger;
};

/// $TMPDIR or /tmp; for tasks of another user the first of both that this user can work in.
/// Errors: PermissionDenied if it is neither.
Result<std::filesystem::path> place_for(const std::optional<os::User>& user);

/// Makes a private directory (0700): `<root>/cirrus-build` if that name is free, else with a name
/// of its own. The fixed name is preferred so that caches keyed by path work.
/// Source: reference worker, isolation none. Never follows a link, never takes over a directory
/// that is there. Errors: those of the disk.
Result<std::filesystem::path> make_working_directory(const TaskDirectories& directories);

/// A private directory (0700) for the agent's small files, where its user can reach it.
Status make_scratch_directory(const TaskDirectories& directories);

/// Removes what an earlier worker had made for this task before it died. Nothing is success.
Status remove_earlier(const TaskDirectories& directories);

}  // namespace cirrus::isolation
