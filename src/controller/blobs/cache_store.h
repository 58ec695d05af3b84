// SPDX-License-Identifier: MIT
// Caches of repositories: whole files under keys, read by later tasks of the same repository.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"
#include "base/result.h"
#include "controller/blobs/disk_watermark.h"
#include "controller/blobs/paths.h"
#include "os/fd.h"

namespace cirrus::controller::blobs {

struct CacheEntry {
  std::string key;
  std::uint64_t bytes = 0;
  std::int64_t created_millis = 0;  ///< since 1970
  std::int64_t used_millis = 0;     ///< last read or written
  std::string created_by_task;
};

/// How long caches stay. Ours: what the hosted service kept was not documented.
struct CacheLimits {
  std::uint64_t total_bytes = 50ULL << 30U;  ///< of all repositories
  std::uint64_t entry_bytes = 20ULL << 30U;  ///< of one cache
  std::chrono::hours unused{24 * 30};        ///< since it was last used
};

class CacheStore;

/// A cache that is being written; nobody sees it before `commit`, and nothing is left without it.
class CacheUpload {
 public:
  CacheUpload(CacheUpload&&) = default;
  CacheUpload& operator=(CacheUpload&&) = delete;
  ~CacheUpload();
  /// Errors: ResourceExhausted over the limit of one cache, or when the disk is too full.
  Status append(std::string_view bytes);
  std::uint64_t size() const { return size_; }
  /// Durable and visible when it returns; replaces an older one of the key. The last writer wins.
  Status commit();

 private:
  friend class CacheStore;
  CacheUpload(CacheStore& store, std::string repository, CacheEntry entry, std::uint64_t header,
              std::filesystem::path temporary, os::Fd fd)
      : store_(&store),
        repository_(std::move(repository)),
        entry_(std::move(entry)),
        header_(header),
        temporary_(std::move(temporary)),
        fd_(std::move(fd)) {}
  CacheStore* store_;
  std::string repository_;
  CacheEntry entry_;
  std::uint64_t header_;
  std::filesystem::path temporary_;
  os::Fd fd_;
  std::uint64_t size_ = 0;
};

/// An open cache: stays readable to its end, also if it is replaced or removed meanwhile.
struct CacheReader {
  CacheEntry entry;
  os::Fd fd;
  std::uint64_t header = 0;  ///< bytes before the content
  /// At most `limit` bytes from `offset`; empty at the end.
  Result<std::string> read(std::uint64_t offset, std::size_t limit) const;
};

/// All caches. Thread-safe; the first use reads the heads of all files once. Keys are opaque bytes
/// within one repository; no repository sees another's.
class CacheStore {
 public:
  static constexpr std::size_t kMaxKey = 1024;  ///< Ours.

  /// `disk` may refuse uploads and must outlive the store; null: it never does.
  CacheStore(Paths paths, const Clock& clock, CacheLimits limits = {},
             const DiskWatermark* disk = nullptr)
      : paths_(std::move(paths)), clock_(clock), limits_(limits), disk_(disk) {}
  CacheStore(const CacheStore&) = delete;
  CacheStore& operator=(const CacheStore&) = delete;

  /// Errors: InvalidArgument for an empty or over-long key.
  static Status check_key(std::string_view key);

  /// `key` itself, else the newest entry of the first prefix that has any.
  Result<std::optional<CacheEntry>> find(const std::string& repository, const std::string& key,
                                         const std::vector<std::string>& prefixes);
  /// Errors: NotFound.
  Result<CacheReader> open(const std::string& repository, const std::string& key);
  /// Errors: InvalidArgument, ResourceExhausted.
  Result<CacheUpload> create(const std::string& repository, const std::string& key,
                             const std::string& task);
  /// Removing what is not there is success.
  Status remove(const std::string& repository, const std::string& key);
  /// Of one repository, the newest first, those of one moment by their keys.
  Result<std::vector<CacheEntry>> list(const std::string& repository);
  /// Of all repositories; 0 before the first use.
  std::uint64_t total_bytes() const {
    return state_.with([](const State& state) { return state.total; });
  }
  /// Removes what was not used for too long, and the longest unused while all are larger than the
  /// limit, or than `at_most` if that is less.
  Status evict(std::optional<std::uint64_t> at_most = std::nullopt);

 private:
  friend class CacheUpload;
  using Index = std::map<std::string, std::map<std::string, CacheEntry>>;  // by repository and key
  struct State {
    bool loaded = false;
    Index index;
    std::uint64_t total = 0;
  };

  Status load(State& state) const;
  std::filesystem::path path_of(const std::string& repository, const std::string& key) const;
  Status publish(CacheUpload& upload);
  void forget(State& state, const std::string& repository, const std::string& key) const;

  const Paths paths_;
  const Clock& clock_;
  const CacheLimits limits_;
  const DiskWatermark* const disk_;
  Guarded<State> state_;
};

}  // namespace cirrus::controller::blobs
