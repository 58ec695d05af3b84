// SPDX-License-Identifier: MIT
#include "rpc/shell_frames.h"

#include <algorithm>

namespace cirrus::rpc {
namespace {

constexpr char kInput = 0;
constexpr char kSize = 1;
constexpr std::size_t kHead = 5;
constexpr std::size_t kSizeBytes = 4;

std::string frame(char kind, std::string_view content) {
  const auto size = static_cast<std::uint32_t>(content.size());
  std::string bytes{kind};
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>((size >> shift) & 0xFFU);
  bytes += content;
  return bytes;
}

std::uint32_t number(std::string_view bytes) {
  std::uint32_t value = 0;
  for (const char c : bytes) value = (value << 8U) | static_cast<unsigned char>(c);
  return value;
}

std::string two_bytes(std::uint32_t value) {
  value = std::min(value, 0xFFFFU);
  return {static_cast<char>(value >> 8U), static_cast<char>(value & 0xFFU)};
}

}  // namespace

std::string input_frame(std::string_view bytes) {
  return frame(kInput, bytes);
}

std::string size_frame(TerminalSize size) {
  return frame(kSize, two_bytes(size.columns) + two_bytes(size.rows));
}

Status FrameReader::feed(std::string_view bytes,
                         const std::function<void(std::string_view)>& on_input,
                         const std::function<void(TerminalSize)>& on_size) {
  held_ += bytes;
  std::string_view rest = held_;
  while (rest.size() >= kHead) {
    const char kind = rest[0];
    const std::size_t size = number(rest.substr(1, kHead - 1));
    if (size > kLargest || (kind != kInput && kind != kSize) ||
        (kind == kSize && size != kSizeBytes)) {
      return error(Code::InvalidArgument, "what a terminal sent is no frame");
    }
    if (rest.size() < kHead + size) break;
    const std::string_view content = rest.substr(kHead, size);
    if (kind == kInput) {
      on_input(content);
    } else {
      on_size({number(content.substr(0, 2)), number(content.substr(2))});
    }
    rest.remove_prefix(kHead + size);
  }
  held_ = std::string(rest);
  return {};
}

}  // namespace cirrus::rpc
