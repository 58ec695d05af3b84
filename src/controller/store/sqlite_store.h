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

/// Looks at every page and every index of a store, however long that takes; a controller may be
/// running on it. Errors: NotFound; DataLoss with the repair command.
Status check_sqlite_store(const std::filesystem::path& path);

}  // namespace cirrus::controller::store
