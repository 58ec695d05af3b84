// SPDX-License-Identifier: MIT
// A directory as a git commit, made without touching the user's index, references or hooks.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/stop.h"
#include "os/process.h"

namespace cirrus::cli {

/// Runs git in one directory with one environment.
struct Git {
  std::filesystem::path directory;
  os::Environment environment;
  StopToken stop;

  /// What it printed, without white space at both ends. Errors: FailedPrecondition with what git
  /// said; as os::run_command.
  Result<std::string> run(std::vector<std::string> arguments) const;
};

struct WorkingTree {
  std::string repository;  ///< `owner/name`
  std::string branch;
  std::string commit;
  std::string message;
  std::filesystem::path known_objects;  ///< the user's own object store; empty: there is none
  Git git;                              ///< sees the commit's objects and the user's
};

/// Commits everything in `directory` that is tracked, or untracked and not ignored. New objects go
/// to `scratch/objects`, everything else that git needs to `scratch` as well. When the directory is
/// a repository's top its HEAD is the parent (and, if nothing has changed, the commit itself).
/// `repository` empty: `owner/name` of `origin`, else `local/<directory>`.
/// Errors: NotFound for a directory that is none; what git said otherwise.
Result<WorkingTree> commit_directory(const std::filesystem::path& directory, std::string repository,
                                     const std::filesystem::path& scratch, const StopToken& stop);

}  // namespace cirrus::cli
