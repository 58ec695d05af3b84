// SPDX-License-Identifier: MIT
// How an archive of our agents' cache instructions begins.
#pragma once

#include <string_view>

namespace cirrus::model {

/// A skippable zstd frame: magic number 0x184D2A5C, the length 4, four letters. Readers of zstd
/// pass over it. Reference agents read gzip only, and delete what they cannot unpack into; a
/// controller therefore tells them that there is no such cache.
inline constexpr std::string_view kArchiveMark{
    "\x5c\x2a\x4d\x18\x04\x00\x00\x00"
    "CTAR",
    12};

}  // namespace cirrus::model
