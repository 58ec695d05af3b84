// SPDX-License-Identifier: MIT
// Copies of a controller's data directory, and looking whether one is whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/stop.h"

namespace cirrus::controller {

struct BackupOptions {
  std::filesystem::path data_dir;
  std::filesystem::path target;  ///< made by the backup; nothing may be there
  bool with_caches = true;       ///< they can be made anew by builds
};

struct BackupReport {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

/// Copies a data directory, also while its controller runs. The rows are taken first and of one
/// moment; then logs, artifacts, repositories, caches and keys. Bytes are only ever added, so every
/// byte a row speaks of is there. The target appears under its name when it is whole; it *is* a
/// data directory: start a controller on (a copy of) it to restore. It holds the master key and
/// tokens: modes are kept.
/// Errors: NotFound, AlreadyExists, ResourceExhausted, Cancelled; nothing is left then.
Result<BackupReport> back_up(const BackupOptions& options, const StopToken& stop);

struct CheckReport {
  std::vector<std::string> faults;  ///< sentences; empty: all is well
  std::uint64_t builds = 0;
  std::uint64_t logs = 0;
  std::uint64_t artifacts = 0;
};

/// Looks through a data directory: rows, keys, logs and artifacts of unknown tasks, repositories.
/// Changes nothing; also while the controller runs. Errors: as opening the store.
Result<CheckReport> check(const std::filesystem::path& data_dir, const StopToken& stop);

}  // namespace cirrus::controller
