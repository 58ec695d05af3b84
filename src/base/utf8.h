// SPDX-License-Identifier: MIT
// Text and bytes: what fields of messages and JSON must hold is UTF-8, and what tasks hand over is
// whatever they like.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cirrus {

/// Bytes of the well-formed sequence at the start of `text` (no surrogates, nothing over-long); 0
/// if there is none.
std::size_t utf8_length(std::string_view text);
/// Whether all of it is UTF-8.
bool is_utf8(std::string_view text);
/// `text` with U+FFFD in place of each byte that is not part of UTF-8.
std::string as_utf8(std::string_view text);

}  // namespace cirrus
