// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <string>

#include "cli/command_tree.h"

namespace cirrus::cli {

/// One page in man(7) source for the root and for each of its commands, with everything below it;
/// by file name (`cirrus-build.1`). `version` stands in the footer.
std::map<std::string, std::string> manual_pages(const CommandNode& root,
                                                const std::string& version);
/// All commands in Markdown, for the documentation.
std::string command_reference(const CommandNode& root);

}  // namespace cirrus::cli
