// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/command_tree.h"

namespace cirrus::cli {

/// What only a controller or a file can say: the names of a kind (`build`, `task`, `step`,
/// `artifact`, `cache`, `repository`, `worker`, `pool`, `token`, `registration_token`, `context`,
/// `local_task`), after these positional words of the same command: steps are those of a task.
using KnownNames = std::function<std::vector<std::string>(const std::string& kind,
                                                          const std::vector<std::string>& given)>;

/// What the shell should offer for the last of `words` (those after `cirrus`; the last may be
/// empty): commands, options, an option's choices, or names. Nothing where a file or a new name
/// stands. Only what begins with the last word is returned. Pure but for `names`.
std::vector<std::string> complete(const CommandNode& root, const std::vector<std::string>& words,
                                  const KnownNames& names);

/// The script for `bash`, `zsh` or `fish`; each asks `cirrus __complete` while one types.
/// Empty for any other shell.
std::string completion_script(const std::string& shell);

}  // namespace cirrus::cli
