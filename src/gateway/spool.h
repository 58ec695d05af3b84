// SPDX-License-Identifier: MIT
// Spool: the log of one step on the worker's disk, addressed by log offset.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"
#include "os/fd.h"

namespace cirrus::gateway {

/// A sparse file. Appending and reading may happen on two threads at once; each alone may not.
class Spool {
 public:
  /// Opens or creates the spool of `step` in `directory`. Never follows a link.
  static Result<Spool> open(const std::filesystem::path& directory, const std::string& step);

  const std::string& step() const { return step_; }
  /// Bytes appended so far; also after a restart.
  std::uint64_t size() const { return size_; }
  /// Appends `bytes`. Errors: ResourceExhausted when the disk is full; nothing counts as appended.
  Status append(std::string_view bytes);
  /// At most `limit` bytes from `offset`; empty at the end.
  Result<std::string> read(std::uint64_t offset, std::size_t limit) const;
  /// Gives the disk blocks below `offset` back, in whole MiB. Whoever asks for them all the same
  /// (its own were lost) reads as many bytes of a sentence that says so.
  void discard_before(std::uint64_t offset);

 private:
  Spool(std::string step, os::Fd fd, std::uint64_t size)
      : step_(std::move(step)), fd_(std::move(fd)), size_(size) {}

  std::string step_;
  os::Fd fd_;
  std::uint64_t size_ = 0;
  std::uint64_t discarded_ = 0;
};

/// The steps that have a spool in `directory`, in no particular order.
Result<std::vector<std::string>> spooled_steps(const std::filesystem::path& directory);

}  // namespace cirrus::gateway
