// SPDX-License-Identifier: MIT
// The worker's log file with exact rotation.
#pragma once

#include "base/result.h"
#include "worker/settings.h"

namespace cirrus::cli {

/// Sends log events to `settings.file` (or leaves them on standard error) at `settings.level`.
/// A file is rotated before the write that would take it over `rotate_size`: it is renamed to
/// `<stem>-YYYY-MM-DDTHH-MM-SS.mmm<ext>` (UTC) and the oldest beyond `max_rotations` go.
/// Source: reference worker, logging; ours: the documented sizes are exact.
Status open_log(const worker::LogSettings& settings);

}  // namespace cirrus::cli
