// SPDX-License-Identifier: MIT
// CacheSteps: the cache instructions of one task. Source: reference agent, cache instruction.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/cache_folders.h"
#include "agent/step_log.h"
#include "agent/step_stop.h"
#include "archive/unpack.h"
#include "cirrus_agent.pb.h"
#include "rpc/blob_service.h"

namespace cirrus::agent {

namespace wire = org::cirruslabs::ci::services::cirruscigrpc;

/// What became of a cache in this task, from its restore to its upload. Main thread only.
///
///   restore: key -> found? -> unpack -> (note the files' state)      miss -> populate script
///   upload:  anything there, changed and not stored by another task? -> pack and store, one stream
class CacheSteps {
 public:
  /// `blobs` must outlive this.
  CacheSteps(rpc::BlobService& blobs, archive::UnpackLimits limits)
      : blobs_(blobs), limits_(limits) {}

  enum class Restored { Hit, Miss };
  /// The instruction's first half. After a miss the populate script is the caller's to run.
  Restored restore(const wire::Command& command, const std::string& key, CacheFolders folders,
                   StepLog& log, const StepStop& stop);
  /// How long the populate script of the last miss took.
  void populated(const std::string& name, std::chrono::nanoseconds took);

  /// The upload instruction. False: it names no cache of this task.
  bool upload(const std::string& name, StepLog& log, const StepStop& stop);
  /// Whether this cache is to be stored whatever became of the task (`save_on: always`, ours).
  bool saved_always(const std::string& name) const;

  /// By key, for the final report.
  const std::map<std::string, wire::CacheRetrievalAttempt>& attempts() const { return attempts_; }

 private:
  struct Cache {
    std::string key;
    CacheFolders folders;
    bool available = false;  ///< the server has an entry under this very key
    bool upload = true;      ///< whether its end may store it
    bool save_always = false;
    std::optional<Snapshot> before;
  };

  Result<std::optional<rpc::CacheFound>> find(const std::string& key,
                                              const std::vector<std::string>& prefixes,
                                              const StepStop& stop);
  Status unpack(Cache& cache, const rpc::CacheFound& found, bool watch, StepLog& log,
                const StepStop& stop);
  Result<bool> worth_storing(const Cache& cache, const std::vector<std::filesystem::path>& roots,
                             StepLog& log, const StepStop& stop);
  void store(const Cache& cache, const std::vector<std::filesystem::path>& roots, StepLog& log,
             const StepStop& stop);

  rpc::BlobService& blobs_;
  const archive::UnpackLimits limits_;
  std::map<std::string, Cache> caches_;
  std::map<std::string, wire::CacheRetrievalAttempt> attempts_;
};

/// A size for people: `12.3 MiB`.
std::string size_text(std::uint64_t bytes);

}  // namespace cirrus::agent
