// SPDX-License-Identifier: MIT
// Which shell runs a script, and the file it is given.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cirrus::agent {

/// Splits at spaces and tabs. Quotes of both kinds group and may start in mid-word; a backslash
/// takes the next byte literally, inside quotes too; an empty quoted word is kept. Errors:
/// InvalidArgument for an open quote or a backslash at the end. Source: reference agent.
Result<std::vector<std::string>> split_words(std::string_view text);

/// The `bash` on PATH (a colon list) as an absolute path, else `/bin/sh`.
std::string default_shell(std::string_view path_variable);

/// What a script file holds: a header of four lines that are not echoed, then the user's lines,
/// each followed by a newline. Every user line is echoed as the shell reads it. Source: reference
/// agent; cache keys hash the echo, so it may not change.
std::string script_text(std::string_view shell, const std::vector<std::string>& lines);

}  // namespace cirrus::agent
