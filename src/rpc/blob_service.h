// SPDX-License-Identifier: MIT
// BlobService: the caches and artifacts of one task, as whoever moves them sees them.
//
// The same seam on both legs of the way: an agent reaches its worker through it, a worker its
// server. Thread-safe; what read_cache and the write functions return belongs to one thread and
// must be gone before the service. A service without a store says so (Unimplemented). Unavailable
// and DeadlineExceeded are worth a retry, of the whole transfer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/stop.h"

namespace cirrus::rpc {

/// What a server knows of one stored cache.
struct CacheFound {
  /// The key that was found: the one asked for, or one that begins with an asked-for prefix.
  std::string key;
  std::uint64_t bytes = 0;
  std::string created_by_task;
  std::int64_t created_unix_seconds = 0;
};

/// One download. Used from one thread; destroying it ends the transfer.
class BlobSource {
 public:
  virtual ~BlobSource() = default;
  /// The next bytes, at most 1 MiB; empty at the end. NotFound on the first call if there is
  /// nothing. Blocks.
  virtual Result<std::string> read() = 0;
};

/// One upload. Used from one thread; blocks while the server is slower than the writer.
class BlobSink {
 public:
  virtual ~BlobSink() = default;
  virtual Status write(std::string_view bytes) = 0;
  /// Everything was written: makes it visible and waits for the server's word. An upload that is
  /// destroyed before leaves nothing behind.
  virtual Status finish() = 0;
};

/// One file of an artifact. Paths are relative with '/', and never leave the artifact.
struct ArtifactFile {
  std::string path;
  std::uint64_t bytes = 0;
};

/// What an artifacts step uploads under its name. Everything is known before the first byte,
/// because servers that hand out upload addresses want sizes.
struct ArtifactSet {
  std::string name;
  std::string type;
  std::string format;
  std::vector<ArtifactFile> files;
};

/// One upload of an artifact's files, in the order of its set. Used from one thread.
class ArtifactSink {
 public:
  virtual ~ArtifactSink() = default;
  /// Begins the set's next file; the one before must be complete.
  virtual Status begin_file() = 0;
  /// Bytes of the current file; together exactly as many as the set says.
  virtual Status write(std::string_view bytes) = 0;
  /// Publishes the set (also an empty one) and waits for the server's word. An upload that is
  /// destroyed before leaves nothing that can be seen.
  virtual Status finish() = 0;
};

class BlobService {
 public:
  virtual ~BlobService() = default;

  /// `key` itself, else the newest entry of the first prefix that has any; absent: a miss.
  virtual Result<std::optional<CacheFound>> find_cache(const std::string& key,
                                                       const std::vector<std::string>& prefixes,
                                                       const StopToken& stop, Monotonic deadline) {
    (void)key, (void)prefixes, (void)stop, (void)deadline;
    return no_store();
  }
  virtual Result<std::unique_ptr<BlobSource>> read_cache(const std::string& key,
                                                         const StopToken& stop) {
    (void)key, (void)stop;
    return no_store();
  }
  virtual Result<std::unique_ptr<BlobSink>> write_cache(const std::string& key,
                                                        const StopToken& stop) {
    (void)key, (void)stop;
    return no_store();
  }
  virtual Status delete_cache(const std::string& key, const StopToken& stop, Monotonic deadline) {
    (void)key, (void)stop, (void)deadline;
    return no_store();
  }
  virtual Result<std::unique_ptr<ArtifactSink>> write_artifacts(const ArtifactSet& set,
                                                                const StopToken& stop) {
    (void)set, (void)stop;
    return no_store();
  }

 protected:
  static Error no_store() {
    return error(Code::Unimplemented, "this server stores no caches and no artifacts");
  }
};

}  // namespace cirrus::rpc
