// SPDX-License-Identifier: MIT
// One file of bytes per step of each task.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/guarded.h"
#include "base/result.h"
#include "controller/blobs/paths.h"
#include "os/fd.h"

namespace cirrus::controller::blobs {

class LogStore;

/// The log of one step, open for writing. Writers of the same step share one object, so that each
/// sees what the other stored. Thread-safe.
class LogFile {
 public:
  /// Bytes stored so far.
  std::uint64_t stored() const;
  /// Adds at the end. Returns the bytes stored then. Errors: ResourceExhausted (disk full), ...
  Result<std::uint64_t> append(std::string_view bytes);
  /// Stores bytes whose first one is byte `offset` of the log; what is stored already is dropped.
  /// Errors: FailedPrecondition if bytes before `offset` are missing.
  Result<std::uint64_t> append_at(std::uint64_t offset, std::string_view bytes);

 private:
  friend class LogStore;
  struct State {
    os::Fd fd;
    std::uint64_t size = 0;
  };
  LogFile(LogStore& store, std::string key) : store_(store), key_(std::move(key)) {}
  Status write(State& state, std::string_view bytes);

  LogStore& store_;        // constant after construction; outlives every file
  const std::string key_;  // constant after construction
  Guarded<State> state_;
};

/// A new text for a step's log, not visible before `commit`; dropped without it.
class LogReplacement {
 public:
  LogReplacement(LogReplacement&&) = default;
  LogReplacement& operator=(LogReplacement&&) = delete;
  ~LogReplacement();
  Status append(std::string_view bytes);
  std::uint64_t size() const { return size_; }
  /// Puts the new text in place of the old one.
  Status commit();

 private:
  friend class LogStore;
  LogReplacement(LogStore& store, std::string key, std::filesystem::path path,
                 std::filesystem::path temporary, os::Fd fd)
      : store_(&store),
        key_(std::move(key)),
        path_(std::move(path)),
        temporary_(std::move(temporary)),
        fd_(std::move(fd)) {}
  LogStore* store_;
  std::string key_;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  os::Fd fd_;
  std::uint64_t size_ = 0;
};

/// All logs. Thread-safe. Written bytes survive the process, not a power cut: the agents' worker
/// still has them until the task's end is acknowledged, and syncing every chunk would cost more
/// than the log is worth.
class LogStore {
 public:
  explicit LogStore(Paths paths) : paths_(std::move(paths)) {}
  LogStore(const LogStore&) = delete;
  LogStore& operator=(const LogStore&) = delete;

  /// Opens or creates a step's log.
  Result<std::shared_ptr<LogFile>> open(model::TaskId task, std::string_view step);
  /// Starts a replacement of a step's log.
  Result<LogReplacement> replace(model::TaskId task, std::string_view step);
  /// At most `limit` bytes from `offset`; empty at the end and if nothing was ever logged.
  Result<std::string> read(model::TaskId task, std::string_view step, std::uint64_t offset,
                           std::size_t limit) const;
  Result<std::uint64_t> size(model::TaskId task, std::string_view step) const;
  /// Since the process started.
  std::uint64_t bytes_written() const { return bytes_written_; }

  using Watcher = std::function<void()>;
  /// Calls `watcher` after bytes of that step arrived, from the writer's thread, until the
  /// returned handle is dropped (a call may still be under way then).
  std::shared_ptr<void> watch(model::TaskId task, std::string_view step, Watcher watcher);

 private:
  friend class LogFile;
  friend class LogReplacement;
  struct Entry {
    std::weak_ptr<LogFile> file;
    std::vector<std::weak_ptr<Watcher>> watchers;
  };
  static std::string key_of(model::TaskId task, std::string_view step);
  void notify(const std::string& key);
  void forget_file(const std::string& key);

  const Paths paths_;                            // constant after construction
  std::atomic<std::uint64_t> bytes_written_{0};  // a figure; orders nothing
  Guarded<std::map<std::string, Entry>> entries_;
};

}  // namespace cirrus::controller::blobs
