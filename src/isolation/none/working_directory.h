// SPDX-License-Identifier: MIT
// The directory a task without isolation works in.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace cirrus::isolation {

/// Makes `$TMPDIR/cirrus-build` (0700) or, if that exists, `$TMPDIR/cirrus-build-<random>`. The
/// fixed name comes first because compiler caches are keyed by absolute paths.
/// Source: reference worker, isolation none.
Result<std::filesystem::path> make_working_directory();

}  // namespace cirrus::isolation
