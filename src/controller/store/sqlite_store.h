// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <memory>

#include "controller/store/store.h"

namespace cirrus::controller::store {

/// How hard a commit tries.
enum class Durability {
  PowerLoss,    ///< synchronous=FULL: on the disk when `apply` returns
  ProcessCrash  ///< synchronous=NORMAL: survives kill -9, a power cut may lose the last commits
};

/// Opens or creates the store file (mode 0600), migrates it and checks it.
/// Errors: DataLoss with the repair command if the file is damaged; FailedPrecondition if a newer
/// program wrote it; PermissionDenied.
Result<std::unique_ptr<Store>> open_sqlite_store(const std::filesystem::path& path,
                                                 Durability durability = Durability::PowerLoss);

/// The DataLoss to report of the store at `path`, with the commands that salvage it.
Error damaged_store(const std::filesystem::path& path, const Error& why);

}  // namespace cirrus::controller::store
