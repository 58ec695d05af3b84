// SPDX-License-Identifier: MIT
#include "model/entity_ids.h"

#include <charconv>

namespace cirrus::model {

Result<std::int64_t> parse_positive(std::string_view text, std::string_view what) {
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || value <= 0) {
    return error(Code::InvalidArgument, "'{:.40}' is not a {} id", text, what);
  }
  return value;
}

}  // namespace cirrus::model
