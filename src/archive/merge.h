// SPDX-License-Identifier: MIT
// One tree moved over another.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace cirrus::archive {

/// Moves everything in the directory `from` into the directory `to`. Directories are merged, files
/// replaced, links that exist stay; a whole directory that `to` does not have is moved as one.
/// Never follows a link below `to`. Errors: FailedPrecondition where something else stands in a
/// directory's place or a directory in a file's.
Status move_into(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace cirrus::archive
