// SPDX-License-Identifier: MIT
// What a person's terminal says to a shell: bytes, and its size when that changes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cirrus::rpc {

struct TerminalSize {
  std::uint32_t columns = 80;
  std::uint32_t rows = 24;
};

/// One byte of kind (0 bytes, 1 size), four bytes of length, most significant first, then the
/// content; a size is two numbers of two bytes.
std::string input_frame(std::string_view bytes);
std::string size_frame(TerminalSize size);

/// Splits a stream into frames, however it is cut.
class FrameReader {
 public:
  /// Ours: a frame larger than this is a mistake.
  static constexpr std::size_t kLargest = 1U << 20U;

  /// Hands out every frame that is complete. Errors: InvalidArgument for a frame that is none.
  Status feed(std::string_view bytes, const std::function<void(std::string_view)>& on_input,
              const std::function<void(TerminalSize)>& on_size);

 private:
  std::string held_;
};

}  // namespace cirrus::rpc
