// SPDX-License-Identifier: MIT
// What people's shells in tasks showed, where a pool asks for it: one file per shell, beside the
// task's logs, with which it is counted and goes.
//
//   2026-11-29T14:40:00Z the-token's-name LF, then every byte as the shell printed it
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "controller/blobs/paths.h"
#include "os/fd.h"

namespace cirrus::controller::blobs {

/// A recording under way. Bytes that were taken survive the process, and a power cut once the
/// task's logs are synced at its end. Not thread-safe.
class ShellRecord {
 public:
  /// Counts from 1 in each task.
  int number() const { return number_; }
  /// What the person is told first, a line for a terminal.
  std::string notice() const;
  /// Adds what the shell shows. An error says that the shell cannot go on: ResourceExhausted (disk
  /// full), ...
  Status append(std::string_view bytes);
  /// For a shell that was not opened after all.
  void discard();

 private:
  friend class ShellRecords;
  ShellRecord(model::TaskId task, int number, std::filesystem::path path, os::Fd fd)
      : task_(task), number_(number), path_(std::move(path)), fd_(std::move(fd)) {}
  Status write(std::string_view bytes);

  const model::TaskId task_;
  const int number_;
  const std::filesystem::path path_;
  const os::Fd fd_;
  std::uint64_t size_ = 0;
};

/// All recordings. Thread-safe.
class ShellRecords {
 public:
  /// Ours: of one task.
  static constexpr int kMost = 1000;

  struct Record {
    int number = 0;
    std::string opened_by;  ///< as in the audit
    std::string opened_at;  ///< RFC 3339; this and the name are empty after a power cut
    std::uint64_t bytes = 0;
  };

  explicit ShellRecords(Paths paths) : paths_(std::move(paths)) {}

  /// Starts the recording of a shell. Errors: ResourceExhausted if the task has `kMost` or the disk
  /// is full, ...
  Result<std::unique_ptr<ShellRecord>> begin(model::TaskId task, std::string_view opened_by,
                                             WallTime opened_at) const;
  /// In the order of their numbers.
  Result<std::vector<Record>> list(model::TaskId task) const;
  /// At most `limit` bytes of what the shell showed from `offset`; empty at the end. Errors:
  /// NotFound, with why it is gone if retention took it.
  Result<std::string> read(model::TaskId task, int number, std::uint64_t offset,
                           std::size_t limit) const;

 private:
  const Paths paths_;
};

}  // namespace cirrus::controller::blobs
