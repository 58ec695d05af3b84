// SPDX-License-Identifier: MIT
#include "agent/annotations/json_reader.h"

#include "base/strings.h"

namespace cirrus::agent {

Result<Json> parse_json(std::string_view text) {
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return error(Code::InvalidArgument, "the report is not JSON");
  return value;
}

Status each_json_line(std::string_view text, const std::function<void(const Json&)>& each) {
  std::size_t line = 0;
  while (!text.empty()) {
    ++line;
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view one = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (one.empty()) continue;
    const Json value = Json::parse(one, nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) {
      return error(Code::InvalidArgument, "line {} of the report is not JSON", line);
    }
    each(value);
  }
  return {};
}

const Json& at(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

const Json& list_at(const Json& object, const char* key) {
  static const Json kEmpty = Json::array();
  const Json& value = at(object, key);
  return value.is_array() ? value : kEmpty;
}

std::string text_at(const Json& object, const char* key) {
  const Json& value = at(object, key);
  if (value.is_string()) return value.get<std::string>();
  return value.is_number() || value.is_boolean() ? value.dump() : std::string();
}

std::int64_t number_at(const Json& object, const char* key) {
  const Json& value = at(object, key);
  return value.is_number_integer() ? value.get<std::int64_t>() : 0;
}

}  // namespace cirrus::agent
