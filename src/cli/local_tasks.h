// SPDX-License-Identifier: MIT
// What `cirrus run` changes in evaluated tasks, so that this machine can run them now.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "lang/evaluate.h"

namespace cirrus::cli {

struct LocalTaskOptions {
  /// Names, in any case; empty: all tasks. A named task runs without those it depends on, also if
  /// it waits to be triggered by hand. Source: reference CLI, task filter.
  std::vector<std::string> names;
  /// Set: tasks work in this directory itself instead of in a copy of it.
  std::filesystem::path live_directory;
};

/// Every task takes one slot of the local worker, whose labels and resources do not matter here.
inline constexpr const char* kLocalSlot = "slot";

/// Errors: NotFound, with the names there are, for a name no task has; FailedPrecondition for a
/// task that cannot work in the live directory.
Result<std::vector<lang::pb::Task>> local_tasks(std::vector<lang::pb::Task> tasks,
                                                const LocalTaskOptions& options);

}  // namespace cirrus::cli
