// SPDX-License-Identifier: MIT
// Reading JSON that may hold anything: every look answers something.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace cirrus::agent {

using Json = nlohmann::json;

/// Errors: InvalidArgument with the place.
Result<Json> parse_json(std::string_view text);
/// Hands every line that is not blank to `each`. Errors: InvalidArgument, naming the line.
Status each_json_line(std::string_view text, const std::function<void(const Json&)>& each);

/// The string under `key`; numbers and truth values as they are written; empty for all else.
std::string text_at(const Json& object, const char* key);
/// The whole number under `key`; 0 for all else.
std::int64_t number_at(const Json& object, const char* key);
/// The value under `key`; a null if there is none.
const Json& at(const Json& object, const char* key);
/// The elements of an array; none for all else.
const Json& list_at(const Json& object, const char* key);

}  // namespace cirrus::agent
