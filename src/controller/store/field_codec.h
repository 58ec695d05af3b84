// SPDX-License-Identifier: MIT
// Small maps and lists as one column: length-prefixed strings, so any byte may occur.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/label_selector.h"
#include "model/resources.h"

namespace cirrus::controller::store {

/// `<decimal length>:<bytes>` for each string, one after the other.
std::string encode_strings(const std::vector<std::string>& strings);
/// Errors: DataLoss if `bytes` is not such a list.
Result<std::vector<std::string>> decode_strings(std::string_view bytes);

template <typename Map>
std::string encode_map(const Map& map) {
  std::vector<std::string> strings;
  for (const auto& [key, value] : map) {
    strings.push_back(key);
    strings.push_back(value);
  }
  return encode_strings(strings);
}
/// Errors: DataLoss.
template <typename Map>
Result<Map> decode_map(std::string_view bytes) {
  const std::vector<std::string> strings = CIRRUS_TRY(decode_strings(bytes));
  if (strings.size() % 2 != 0) return error(Code::DataLoss, "a stored map has a key without value");
  Map map;
  for (std::size_t i = 0; i < strings.size(); i += 2) map[strings[i]] = strings[i + 1];
  return map;
}

std::string encode_resources(const model::Resources& resources);
/// Errors: DataLoss.
Result<model::Resources> decode_resources(std::string_view bytes);

std::string encode_numbers(const std::vector<int>& numbers);
/// Errors: DataLoss.
Result<std::vector<int>> decode_numbers(std::string_view bytes);

}  // namespace cirrus::controller::store
