// SPDX-License-Identifier: MIT
// Secret: a string that does not print, and comparison that does not leak.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace cirrus {

/// True if both are equal; the time taken depends on the lengths only.
bool equal_in_constant_time(std::string_view a, std::string_view b);

/// A credential. Formats as `<redacted>`; the text is only reachable by name.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}

  bool empty() const { return text_.empty(); }
  /// The real text, for the wire and for files of mode 0600. Never log it.
  const std::string& reveal() const { return text_; }
  bool matches(std::string_view other) const { return equal_in_constant_time(text_, other); }

 private:
  std::string text_;
};

}  // namespace cirrus

template <>
struct fmt::formatter<cirrus::Secret> : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(const cirrus::Secret&, Context& context) const {
    return fmt::formatter<std::string_view>::format("<redacted>", context);
  }
};
