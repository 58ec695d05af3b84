// SPDX-License-Identifier: MIT
// A subtree as JSON text, for settings that are passed on as one string.
#pragma once

#include <string>
#include <string_view>

#include "lang/tree/node.h"

namespace cirrus::lang {

/// Compact JSON with sorted keys; every scalar is a string, of equal keys the last counts.
std::string json_text(const Node& node);

/// A JSON string literal, quotes included. Bytes that are no UTF-8 become U+FFFD.
std::string json_quoted(std::string_view text);

}  // namespace cirrus::lang
