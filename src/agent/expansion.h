// SPDX-License-Identifier: MIT
// Variable references in texts and in maps of variables.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace cirrus::agent {

using Variables = std::map<std::string, std::string, std::less<>>;
/// The value of a name; nullopt if it is unset (an empty value is set).
using Lookup = std::function<std::optional<std::string>(std::string_view name)>;

/// Replaces `$NAME`, `${NAME}`, `${NAME:default}` and `%NAME%`. Unset names become empty. A dollar
/// sign cannot be escaped; one that no name can follow stays. Source: reference agent, whose
/// scanner this follows in every corner (`${}`, unclosed braces, one-character names).
std::string expand(std::string_view text, const Lookup& lookup);

/// Expands every value until nothing changes, ten passes at most. `outer` is asked before the map
/// itself. A value that would still refer to its own name stays as it was, which is what makes
/// `PATH: /x:$PATH` work. Source: reference agent.
void expand_map(Variables& variables, const Lookup& outer);

}  // namespace cirrus::agent
