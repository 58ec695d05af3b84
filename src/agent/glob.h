// SPDX-License-Identifier: MIT
// File names by pattern, as cache folders and artifact paths use them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/stop.h"

namespace cirrus::agent {

/// What a pattern stands for, sorted within each directory; empty if there is nothing.
///
/// `*` and `?` stay within one component, `[a-z]` and `[^a-z]` are sets, `{a,b}` alternatives, `\`
/// takes the next character as it is. A component `**` is any number of directories, none
/// included; at the end it gives directories too. Hidden names match. Links to directories are
/// followed, but never in a circle. Directories that cannot be read count as empty. A link that
/// leads nowhere is found. Source: reference agent, artifacts.
///
/// `pattern` is absolute. Errors: InvalidArgument for an unclosed `[` or `{` or too many
/// alternatives; ResourceExhausted for more than a million results.
Result<std::vector<std::filesystem::path>> glob(std::string_view pattern, const StopToken& stop);

/// Whether a name matches one component of a pattern without `{`. Errors as above.
Result<bool> matches_component(std::string_view pattern, std::string_view name);

}  // namespace cirrus::agent
