// SPDX-License-Identifier: MIT
// Textual expansion of `$NAME`, `${NAME}` and `%NAME%`.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "lang/limits.h"

namespace cirrus::lang {

/// Variables by name, in descending byte order: longer names come before their prefixes.
using Variables = std::map<std::string, std::string, std::greater<>>;

/// Up to ten rounds, ending early when nothing changes: for every variable in order all `$NAME`,
/// then `${NAME}`, then `%NAME%` become its value. Unknown names stay; there is no escaping and no
/// word boundary, so `$FOOBAR` with only FOO set is FOO's value and `BAR`.
/// Errors: ResourceExhausted if the text grows over `limits.max_text_bytes` or `budget` has no
/// work left. Source: reference CLI, environment expansion.
Result<std::string> expand_text(std::string_view text, const Variables& variables,
                                const Limits& limits, Budget& budget);

}  // namespace cirrus::lang
