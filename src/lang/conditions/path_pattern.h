// SPDX-License-Identifier: MIT
// Path patterns of changesInclude and changesIncludeOnly.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace cirrus::lang {

/// The regular expression (RE2 syntax, to be matched as a whole) of a path pattern: `*` any run
/// without `/`, `**` any run, `?` one character but `/`, `[abc] [a-c] [!a]`, `{a,b}`, `\x`.
/// A translation, so that matching takes linear time whatever the pattern.
/// Errors: InvalidArgument for an open class or group, a nested group, a bad range, `/` inside a
/// class or a trailing backslash. Source: reference CLI; ours: patterns match as UTF-8.
Result<std::string> path_pattern_regex(std::string_view pattern);

}  // namespace cirrus::lang
