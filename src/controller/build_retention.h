// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>

#include "base/clock.h"
#include "base/result.h"
#include "base/stop.h"
#include "controller/blobs/paths.h"
#include "controller/core/core.h"

namespace cirrus::controller {

/// How long finished builds stay. Ours: the hosted service kept no promise about them.
struct BuildLimits {
  std::chrono::hours age{24 * 365};  ///< since they ended; 0: for ever
  int most = 0;                      ///< this many of the newest stay; 0: no limit
  /// Never taken for their number: what somebody is probably looking at.
  std::chrono::hours untouchable{1};
  int batch = 100;  ///< builds of one transaction
};

struct BuildRetentionReport {
  std::uint64_t builds = 0;
  std::uint64_t tasks = 0;  ///< whose logs, artifacts and reports went
};

/// Removes finished builds that are too old or too many: their rows, then the bytes of their tasks.
/// What has yet to go is in the store, so a crash between the two is made good by the next sweep.
/// Not thread-safe; the controller may work meanwhile.
class BuildRetention {
 public:
  BuildRetention(core::Core& core, blobs::Paths paths, BuildLimits limits)
      : core_(core), paths_(std::move(paths)), limits_(limits) {}

  /// One pass over all, in batches. Errors: as the store; of the first bytes that could not be
  /// removed (the others were tried, and these are tried again); Cancelled.
  Result<BuildRetentionReport> sweep(const StopToken& stop);

 private:
  Status remove_all(const store::RemovalQuery& query, const std::string& why,
                    BuildRetentionReport& report, const StopToken& stop);
  Status remove_bytes(BuildRetentionReport& report, const StopToken& stop);
  Status remove_bytes_of(const store::RemovedBuildRecord& build) const;

  core::Core& core_;
  const blobs::Paths paths_;
  const BuildLimits limits_;
};

}  // namespace cirrus::controller
