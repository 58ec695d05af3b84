// SPDX-License-Identifier: MIT
// The build context of a Dockerfile: the task's repository at its commit, as a tar.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "base/result.h"
#include "base/stop.h"

namespace cirrus::isolation {

struct BuildContext {
  std::string tar;
  std::string dockerfile;  ///< its path in there
};

/// Ours: what a context and a Dockerfile may hold; both are kept in memory while they are sent.
inline constexpr std::size_t kMostContextBytes = 256U << 20U;
inline constexpr std::size_t kMostDockerfileBytes = 1U << 20U;

/// Fetches the commit the task builds with the host's `git` into `directory` (made here, the
/// caller's to remove) and packs the tree below CIRRUS_DOCKER_CONTEXT, or the whole of it. Nothing
/// is checked out and no hook or filter of the repository runs; submodules stay empty and large
/// files stay pointers. A Dockerfile outside of the context is put into it under a name of ours.
/// Only http and https are spoken: a task must not use the worker's own keys or files.
/// Errors: InvalidArgument for variables git would not take or a Dockerfile that is not there,
/// ResourceExhausted beyond the limits, what git said otherwise; Cancelled on stop.
Result<BuildContext> fetch_build_context(const std::map<std::string, std::string>& variables,
                                         const std::string& dockerfile,
                                         const std::filesystem::path& directory,
                                         const StopToken& stop);

}  // namespace cirrus::isolation
