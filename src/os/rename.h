// SPDX-License-Identifier: MIT
// Renaming that never replaces.
#pragma once

#include <string>

#include "os/fd.h"

namespace cirrus::os {

/// Renames an entry of the directory `parent`, unless something has the new name. False if it has,
/// or if this file system cannot tell.
bool rename_to_free_name(const Fd& parent, const std::string& from, const std::string& to);

}  // namespace cirrus::os
