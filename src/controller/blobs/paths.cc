// SPDX-License-Identifier: MIT
#include "controller/blobs/paths.h"

#include "base/digest.h"

namespace cirrus::controller::blobs {

namespace {
constexpr std::size_t kLongest = 200;

bool stays(char c, bool first) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || (c == '.' && !first);
}
}  // namespace

std::string encode_component(std::string_view name) {
  if (name.empty()) return "%";
  std::string encoded;
  for (const char c : name) {
    if (stays(c, encoded.empty())) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
  }
  if (encoded.size() <= kLongest) return encoded;
  return encoded.substr(0, 100) + "%" + sha256_hex(name);
}

}  // namespace cirrus::controller::blobs
