// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace cirrus::controller::store {

/// Copies the store file `from`, as of one moment, to the new file `to` (mode 0600), also while a
/// controller writes it: commits before the call are in, later ones may be, none is torn.
/// Errors: NotFound; AlreadyExists; DataLoss; Unavailable.
Status copy_sqlite_store(const std::filesystem::path& from, const std::filesystem::path& to);

/// What is wrong inside the store file, one sentence each; empty: nothing was found. Reads all of
/// it; does not write. Errors: as Database::open, FailedPrecondition for a newer schema,
/// DataLoss with the commands that salvage a store too damaged to be read.
Result<std::vector<std::string>> check_sqlite_store(const std::filesystem::path& path);

}  // namespace cirrus::controller::store
