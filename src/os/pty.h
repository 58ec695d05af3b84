// SPDX-License-Identifier: MIT
// Pty: a terminal without a screen.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/result.h"
#include "os/fd.h"

namespace cirrus::os {

class Pty {
 public:
  /// Errors: ResourceExhausted where there are no more, NotFound where there are none at all.
  static Result<Pty> open(std::uint32_t columns, std::uint32_t rows);

  /// The side people are on: read what is printed, write what is typed. At the end of the last
  /// process on the other side, reading fails.
  int descriptor() const { return master_.get(); }
  /// What a process opens as its terminal.
  const std::filesystem::path& device() const { return device_; }
  /// Tells the processes, too.
  void resize(std::uint32_t columns, std::uint32_t rows) const;

 private:
  Pty(Fd master, std::filesystem::path device)
      : master_(std::move(master)), device_(std::move(device)) {}
  Fd master_;
  std::filesystem::path device_;
};

}  // namespace cirrus::os
