// SPDX-License-Identifier: MIT
// Fd: an owned file descriptor. Everything this folder opens is close-on-exec.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace cirrus::os {

/// Owns a descriptor and closes it. Move-only.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int number) : number_(number) {}
  Fd(Fd&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }

  bool valid() const { return number_ >= 0; }
  /// The number, still owned here; -1 if there is none.
  int get() const { return number_; }
  /// Gives ownership away.
  int release() { return std::exchange(number_, -1); }
  void reset();

 private:
  int number_ = -1;
};

struct Pipe {
  Fd read_end;
  Fd write_end;
};
/// A close-on-exec pipe. Errors: ResourceExhausted when out of descriptors.
Result<Pipe> make_pipe();

/// open(2) with O_CLOEXEC added. `flags` as in open(2).
Result<Fd> open_file(const std::filesystem::path& path, int flags, unsigned mode = 0600);

/// Writes everything, over interruptions and short writes.
Status write_all(int fd, std::string_view bytes);
/// Writes everything at `offset`.
Status write_all_at(int fd, std::string_view bytes, std::uint64_t offset);
/// Reads at most `buffer.size()` bytes; 0 at the end of the stream. Unavailable if the descriptor
/// does not block and nothing is there.
Result<std::size_t> read_some(int fd, std::span<char> buffer);
/// Reads exactly `size` bytes. Errors: OutOfRange if the stream ends before.
Result<std::string> read_exactly(int fd, std::size_t size);

Status set_nonblocking(int fd, bool on);
/// Clears or sets close-on-exec.
Status set_close_on_exec(int fd, bool on);
/// Marks every descriptor from `first` on close-on-exec.
void close_on_exec_from(int first);

}  // namespace cirrus::os
