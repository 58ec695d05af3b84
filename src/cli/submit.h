// SPDX-License-Identifier: MIT
// Turning a directory into a synthetic commit on the controller.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/stop.h"
#include "cli/api_client.h"

namespace cirrus::cli {

struct Submission {
  /// `owner/name`.
  std::string repository;
  std::string branch;
  std::string commit;
  std::string message;
};

/// Commits everything in `directory` that is tracked, or untracked and not ignored, and pushes it
/// to the controller's git endpoint. The user's index, references and hooks are not touched. When
/// the directory is a repository's top its HEAD is the parent (and, if nothing has changed, the
/// commit itself). `repository` empty: `owner/name` of `origin`, else `local/<directory>`.
/// Errors: NotFound for a directory that is none; what git said otherwise.
Result<Submission> push_directory(const std::filesystem::path& directory, std::string repository,
                                  const ApiClient& api, const StopToken& stop);

}  // namespace cirrus::cli
