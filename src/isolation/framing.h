// SPDX-License-Identifier: MIT
// How a bootstrap goes over a pipe: its length in four bytes, the highest first, then the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cirrus::isolation {

inline std::string framed(std::string_view message) {
  const auto size = static_cast<std::uint32_t>(message.size());
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<char>((size >> shift) & 0xFFU));
  }
  bytes += message;
  return bytes;
}

}  // namespace cirrus::isolation
