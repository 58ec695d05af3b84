// SPDX-License-Identifier: MIT
// Holes in files.
#pragma once

#include <cstdint>

namespace cirrus::os {

/// Gives the blocks of `[offset, offset + length)` back to the file system; the file keeps its
/// size and reads as zeros there. Does nothing where the file system has no holes.
void punch_hole(int fd, std::uint64_t offset, std::uint64_t length);

}  // namespace cirrus::os
