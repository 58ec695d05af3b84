// SPDX-License-Identifier: MIT
// SHA-256 of a stream.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace cirrus::archive {

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

}  // namespace cirrus::archive
