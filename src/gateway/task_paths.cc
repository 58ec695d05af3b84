// SPDX-License-Identifier: MIT
#include "gateway/task_paths.h"

#include <functional>

#include <fmt/format.h>

namespace cirrus::gateway {

std::string file_name_of_step(std::string_view step) {
  std::string name;
  for (const char c : step) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-';
    if (plain) {
      name.push_back(c);
    } else {
      name += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  if (name.empty()) return "%";
  constexpr std::size_t kLongest = 120;
  if (name.size() <= kLongest) return name;
  return fmt::format("{}%~{:016x}", name.substr(0, kLongest), std::hash<std::string_view>()(step));
}

}  // namespace cirrus::gateway
