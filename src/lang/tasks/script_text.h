// SPDX-License-Identifier: MIT
// Script fields: one text or a list of lines.
#pragma once

#include <string>
#include <vector>

#include "lang/tree/node.h"

namespace cirrus::lang {

/// The lines of a script, nothing expanded. A text is split at newlines, so a block ending in one
/// yields a last empty line. List items: texts likewise; a map with `ps` becomes an encoded
/// PowerShell call; other maps yield `key: value` per entry, which repairs an unquoted colon.
/// Errors: Located for a map instead of a script and for unsuitable items.
/// Source: reference CLI, script handling.
Located<std::vector<std::string>> parse_script(const Node& field);

}  // namespace cirrus::lang
