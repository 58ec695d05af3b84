// SPDX-License-Identifier: MIT
// Bytes as text, and back.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace cirrus {

/// Everything but letters, digits and `-._~` as `%XX`.
std::string percent_encode(std::string_view text);
/// `%41` to `A`; with `plus` also `+` to a space. Errors: InvalidArgument for a cut or bad escape,
/// and for a NUL byte.
Result<std::string> percent_decode(std::string_view text, bool plus = false);
/// The usual alphabet, padded.
std::string base64_encode(std::string_view bytes);
/// Errors: InvalidArgument.
Result<std::string> base64_decode(std::string_view text);

}  // namespace cirrus
