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
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  /// Bytes stored so far.
  std::uint64_t stored() const;
  /// Adds at the end. Returns the bytes stored then. Errors: ResourceExhausted (disk full), ...
  Result<std::uint64_t> append(std::string_view bytes);
  /// Stores bytes whose first one is byte `offset` of the log; what is stored already is dropped.
  /// Errors: FailedPrecondition if bytes before `offset` are missing.
  Result<std::uint64_t> append_at(std::uint64_t offset, std::string_view bytes);
  /// Waits until the disk has what is stored now, and returns how much that is.
  Result<std::uint64_t> sync();
  /// Has the system begin to write what is stored, without waiting.
  void begin_sync();

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
  /// Puts the new text, once the disk has it, in place of the old one.
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

/// All logs. Thread-safe. Written bytes survive the process at once, and a power cut once they are
/// synced: at the end of their step at the latest. Until then their worker keeps them.
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
  /// Waits until the disk has what is stored of a step's log. One that does not exist is no error.
  Status sync(model::TaskId task, std::string_view step) const;
  /// The same of every step.
  Status sync(model::TaskId task) const;
  /// Since the process started.
  std::uint64_t bytes_written() const { return bytes_written_; }

  using Watcher = std::function<void()>;
  /// Calls `watcher` after bytes of that step arrived, from the writer's thread, until the
  /// returned handle is dropped (a call may still be under way then).
  std::shared_ptr<void> watch(model::TaskId task, std::string_view step, Watcher watcher);
  /// Steps that are written or watched now.
  std::size_t in_use() const;

 private:
  friend class LogFile;
  friend class LogReplacement;
  struct Entry {
    std::weak_ptr<LogFile> file;
    std::vector<std::weak_ptr<Watcher>> watchers;
  };
  using Entries = Guarded<std::map<std::string, Entry>>;
  static std::string key_of(model::TaskId task, std::string_view step);
  /// Drops the entry of a step that nobody writes or watches any more.
  static void release(Entries& entries, const std::string& key);
  void notify(const std::string& key);
  void forget_file(const std::string& key);

  const Paths paths_;                            // constant after construction
  std::atomic<std::uint64_t> bytes_written_{0};  // a figure; orders nothing
  // Shared with the handles of watchers, which may live longer than this.
  const std::shared_ptr<Entries> entries_ = std::make_shared<Entries>();
};

}  // namespace cirrus::controller::blobs
