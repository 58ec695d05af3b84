// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/stop.h"
#include "controller/blobs/cache_store.h"
#include "controller/blobs/paths.h"

namespace cirrus::controller::blobs {

/// How long bytes stay. Ours: what the hosted service kept was 90 days of logs and artifacts.
struct RetentionLimits {
  std::chrono::hours logs{24 * 90};       ///< since the last byte; 0: for ever
  std::chrono::hours artifacts{24 * 90};  ///< since they were stored; 0: for ever
  std::uint64_t log_bytes = 0;            ///< of all tasks, the oldest go first; 0: no limit
  std::uint64_t artifact_bytes = 0;
  /// With less than this free on the disk the oldest caches, then artifacts, then logs go.
  std::uint64_t least_free_bytes = 1ULL << 30U;
  /// Never taken, whatever the disk: what somebody is probably looking at.
  std::chrono::hours untouchable{1};
};

struct RetentionReport {
  std::uint64_t logs = 0;       ///< tasks whose logs went
  std::uint64_t artifacts = 0;  ///< tasks whose artifacts went
  std::uint64_t bytes = 0;
  bool still_low = false;  ///< the disk is fuller than it should be, and nothing may go
};

/// Removes old logs and artifacts, and leaves a sentence in their place that readers are shown.
/// Not thread-safe; readers and writers may work meanwhile.
class Retention {
 public:
  Retention(Paths paths, const Clock& clock, CacheStore& caches, RetentionLimits limits)
      : paths_(std::move(paths)), clock_(clock), caches_(caches), limits_(limits) {}

  /// One pass over all. `free_bytes` says what the disk has left (a function, because it changes
  /// while things go). Errors: of the first removal that failed; the others were tried.
  Result<RetentionReport> sweep(const std::function<std::uint64_t()>& free_bytes,
                                const StopToken& stop);

 private:
  struct Candidate {
    std::filesystem::path directory;
    std::int64_t touched_millis = 0;
    std::uint64_t bytes = 0;
  };
  std::vector<Candidate> candidates(const std::filesystem::path& folder,
                                    const StopToken& stop) const;
  Status expire(const Candidate& candidate, const std::string& why, RetentionReport& report) const;
  Status sweep_kind(const std::filesystem::path& folder, std::chrono::hours age,
                    std::uint64_t most_bytes, const std::function<bool()>& is_low,
                    std::uint64_t& count, RetentionReport& report, const StopToken& stop) const;

  const Paths paths_;
  const Clock& clock_;
  CacheStore& caches_;
  const RetentionLimits limits_;
};

/// What stands in the place of a task's logs or artifacts; nullopt: nothing was removed.
std::optional<std::string> expiry_note(const std::filesystem::path& directory_of_task);

}  // namespace cirrus::controller::blobs
