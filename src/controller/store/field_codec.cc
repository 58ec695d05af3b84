// SPDX-License-Identifier: MIT
#include "controller/store/field_codec.h"

#include <charconv>

namespace cirrus::controller::store {

std::string encode_strings(const std::vector<std::string>& strings) {
  std::string bytes;
  for (const std::string& text : strings) {
    bytes += std::to_string(text.size());
    bytes += ':';
    bytes += text;
  }
  return bytes;
}

Result<std::vector<std::string>> decode_strings(std::string_view bytes) {
  std::vector<std::string> strings;
  while (!bytes.empty()) {
    std::size_t length = 0;
    const char* const end = bytes.data() + bytes.size();
    const auto [after, failure] = std::from_chars(bytes.data(), end, length);
    if (failure != std::errc() || after == end || *after != ':' ||
        length > static_cast<std::size_t>(end - after - 1)) {
      return error(Code::DataLoss, "a stored list of strings is damaged");
    }
    strings.emplace_back(after + 1, length);
    bytes.remove_prefix(static_cast<std::size_t>(after - bytes.data()) + 1 + length);
  }
  return strings;
}

std::string encode_resources(const model::Resources& resources) {
  std::vector<std::string> strings;
  for (const auto& [name, amount] : resources) {
    strings.push_back(name);
    strings.push_back(fmt::format("{}", amount));
  }
  return encode_strings(strings);
}

Result<model::Resources> decode_resources(std::string_view bytes) {
  using Map = std::map<std::string, std::string>;
  model::Resources resources;
  for (const auto& [name, text] : CIRRUS_TRY(decode_map<Map>(bytes))) {
    double amount = 0;
    const auto [after, failure] = std::from_chars(text.data(), text.data() + text.size(), amount);
    if (failure != std::errc() || after != text.data() + text.size()) {
      return error(Code::DataLoss, "a stored amount of resource '{}' is damaged", name);
    }
    resources[name] = amount;
  }
  return resources;
}

std::string encode_numbers(const std::vector<int>& numbers) {
  return fmt::format("{}", fmt::join(numbers, ","));
}

Result<std::vector<int>> decode_numbers(std::string_view bytes) {
  std::vector<int> numbers;
  const char* at = bytes.data();
  const char* const end = bytes.data() + bytes.size();
  while (at != end) {
    int number = 0;
    const auto [after, failure] = std::from_chars(at, end, number);
    if (failure != std::errc() || (after != end && *after != ',')) {
      return error(Code::DataLoss, "a stored list of numbers is damaged");
    }
    numbers.push_back(number);
    at = after == end ? end : after + 1;
  }
  return numbers;
}

}  // namespace cirrus::controller::store
