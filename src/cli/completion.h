// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/command_tree.h"

namespace cirrus::cli {

/// What the shell should offer for the last of `words` (those after `cirrus`; the last may be
/// empty): commands, options, an option's choices, or names. `names` knows what only a controller
/// or a file can say; it is asked with a kind: `build`, `task`, `worker`, `pool`, `context`.
/// Only what begins with the last word is returned. Pure but for `names`.
std::vector<std::string> complete(
    const CommandNode& root, const std::vector<std::string>& words,
    const std::function<std::vector<std::string>(const std::string& kind)>& names);

/// The script for `bash`, `zsh` or `fish`; each asks `cirrus __complete` while one types.
/// Empty for any other shell.
std::string completion_script(const std::string& shell);

}  // namespace cirrus::cli
