// SPDX-License-Identifier: MIT
// A command line as words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cirrus::lang {

/// Splits as a shell does, without running or expanding anything: single and double quotes,
/// backslash escapes, `#` comments at the start of a word. Errors: InvalidArgument for an open
/// quote or a trailing backslash.
Result<std::vector<std::string>> shell_words(std::string_view text);

}  // namespace cirrus::lang
