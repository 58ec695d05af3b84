// SPDX-License-Identifier: MIT
// Splitting and joining text; nothing locale-dependent.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cirrus {

/// The parts between separators; always at least one (possibly empty) part.
std::vector<std::string> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
/// Without ASCII white space at both ends.
std::string_view trim(std::string_view text);
std::string to_lower(std::string_view text);
/// `text` cut to at most `limit` bytes, never inside a UTF-8 sequence, with `...` where it was cut.
std::string shorten(std::string_view text, std::size_t limit);
/// Of `names`, the one nearest to `name` in edit distance, if near enough to be a misspelling;
/// empty if none is. For "did you mean".
std::string nearest_name(std::string_view name, const std::vector<std::string>& names);

}  // namespace cirrus
