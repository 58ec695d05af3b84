// SPDX-License-Identifier: MIT
// SHA-256.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace cirrus {

/// Of a stream.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view bytes);
  /// The digest as 64 lower-case hex digits; what follows starts afresh.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Of one text: 64 lower-case hex digits.
std::string sha256_hex(std::string_view bytes);

}  // namespace cirrus
