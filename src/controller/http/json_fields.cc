// SPDX-License-Identifier: MIT
#include "controller/http/json_fields.h"

#include <algorithm>

#include "base/strings.h"

namespace cirrus::controller::http {

using nlohmann::json;

namespace {
/// Before anything is made of the text.
bool is_too_deep(const std::string& text) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepestBody) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}
}  // namespace

Result<json> json_object(const std::string& text) {
  if (text.empty()) return json::object();
  if (is_too_deep(text)) {
    return error(Code::InvalidArgument, "the body is nested deeper than {} levels", kDeepestBody);
  }
  json body = json::parse(text, nullptr, false);
  if (body.is_discarded() || !body.is_object()) {
    return error(Code::InvalidArgument, "the body is not a JSON object");
  }
  return body;
}

Status only_fields(const json& object, std::initializer_list<const char*> known) {
  for (const auto& [name, value] : object.items()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string near =
        nearest_name(name, std::vector<std::string>(known.begin(), known.end()));
    return error(Code::InvalidArgument, "unknown field '{}'{}", shorten(name, 60),
                 near.empty() ? "" : fmt::format(", did you mean '{}'?", near));
  }
  return {};
}

Result<std::string> text_field(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return std::string();
  if (!found->is_string()) return error(Code::InvalidArgument, "'{}' must be a string", name);
  return found->get<std::string>();
}

Result<bool> bool_field(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return false;
  if (!found->is_boolean()) {
    return error(Code::InvalidArgument, "'{}' must be true or false", name);
  }
  return found->get<bool>();
}

}  // namespace cirrus::controller::http
