// SPDX-License-Identifier: MIT
// Reading the JSON body of a request strictly.
#pragma once

#include <initializer_list>
#include <string>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace cirrus::controller::http {

/// How deep arrays and objects of a body may lie in each other. Ours: no field needs more than two,
/// and each level of one that is nothing but brackets takes a hundred times its byte.
inline constexpr int kDeepestBody = 32;

/// The body as an object; an empty body is an empty object. Errors: InvalidArgument.
Result<nlohmann::json> json_object(const std::string& text);
/// Errors: InvalidArgument, naming the first field that is none of `known`.
Status only_fields(const nlohmann::json& object, std::initializer_list<const char*> known);
/// A field of text; empty if it is absent or null. Errors: InvalidArgument.
Result<std::string> text_field(const nlohmann::json& object, const char* name);
/// False if it is absent or null. Errors: InvalidArgument.
Result<bool> bool_field(const nlohmann::json& object, const char* name);

}  // namespace cirrus::controller::http
