// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"

namespace cirrus::controller::blobs {

/// Keeps the last of the disk for logs, results and rows: with less than so much free, new caches
/// and artifacts are refused, and those under way are cut off. Thread-safe; constant but for what
/// it counts.
class DiskWatermark {
 public:
  using FreeBytes = std::function<Result<std::uint64_t>()>;
  /// How much an upload may grow between two looks. Ours.
  static constexpr std::uint64_t kLook = 16U << 20U;

  /// `free_bytes` says what the disk has left; a failure to say counts as enough. 0: no limit.
  DiskWatermark(FreeBytes free_bytes, std::uint64_t least_free)
      : free_bytes_(std::move(free_bytes)), least_free_(least_free) {}

  /// Errors: ResourceExhausted, with the figures and what to do.
  Status admit() const;
  /// The same for an upload that grew from `before` to `after` bytes; looks every kLook of them.
  Status admit_growth(std::uint64_t before, std::uint64_t after) const;
  /// Why uploads are refused at the moment; nullopt: they are taken.
  std::optional<std::string> refusal() const;
  /// The same for whoever is shown it all the time: without the figure that changes.
  std::optional<std::string> notice() const;
  /// nullopt: it cannot be said.
  std::optional<std::uint64_t> free_bytes() const;
  /// Uploads refused or cut off since the start.
  std::uint64_t refused() const { return refused_; }

 private:
  /// What is free, if that is too little.
  std::optional<std::uint64_t> too_little() const;

  const FreeBytes free_bytes_;      // constant after construction
  const std::uint64_t least_free_;  // constant after construction
  // Atomics: each stands for itself.
  mutable std::atomic<std::uint64_t> refused_{0};
  mutable std::atomic<bool> refuses_{false};  // as was logged last
};

}  // namespace cirrus::controller::blobs
