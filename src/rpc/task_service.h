// SPDX-License-Identifier: MIT
// TaskService: a server as the agent of one task sees it.
//
// Purpose: everything a task reports and fetches. One object per task; it adds the task's
// credential to every call. Call order: initial_commands first (unless the commands came with the
// assignment); then logs and reports in any order; report_finished last.
// Thread-safe: every method may be called from any thread; one LogStream from one thread.
// Errors: the server's status code; Unavailable and DeadlineExceeded are worth a retry.
// Clean-up: streams must be gone before the service.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/stop.h"
#include "cirrus_agent.pb.h"
#include "rpc/peer.h"

namespace cirrus::rpc {

namespace pb = org::cirruslabs::ci::services::cirruscigrpc;

/// Proves that the caller acts for one attempt of one task.
struct TaskCredential {
  std::string task_id;
  Secret client_secret;
  Secret server_secret;
};

/// One open log upload of one step.
class LogStream {
 public:
  virtual ~LogStream() = default;
  /// How many bytes of this step the server has already; absent: a reference server, which does
  /// not count. Blocks until the server answered.
  virtual Result<std::optional<std::uint64_t>> stored() = 0;
  virtual Status write(std::string_view bytes) = 0;
  /// Half-closes and waits. The server's total of stored bytes of this step.
  virtual Result<std::uint64_t> finish() = 0;
};

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

class TaskService {
 public:
  virtual ~TaskService() = default;
  virtual Result<pb::CommandsResponse> initial_commands(const pb::InitialCommandsRequest& request,
                                                        const StopToken& stop,
                                                        Monotonic deadline) = 0;
  virtual Status report_updates(const pb::ReportCommandUpdatesRequest& request,
                                const StopToken& stop, Monotonic deadline) = 0;
  virtual Status report_finished(const pb::ReportAgentFinishedRequest& request,
                                 const StopToken& stop, Monotonic deadline) = 0;
  virtual Status report_warning(const pb::ReportAgentProblemRequest& request, const StopToken& stop,
                                Monotonic deadline) = 0;
  virtual Status report_error(const pb::ReportAgentProblemRequest& request, const StopToken& stop,
                              Monotonic deadline) = 0;
  virtual Status report_signal(const pb::ReportAgentSignalRequest& request, const StopToken& stop,
                               Monotonic deadline) = 0;
  virtual Status report_annotations(const pb::ReportAnnotationsCommandRequest& request,
                                    const StopToken& stop, Monotonic deadline) = 0;
  virtual Status heartbeat(const StopToken& stop, Monotonic deadline) = 0;
  /// Opens a live upload of `step` whose first byte is byte `offset` of its log.
  virtual std::unique_ptr<LogStream> open_log(const std::string& step, std::uint64_t offset,
                                              const StopToken& stop) = 0;
  /// Replaces the whole log of `step` by what `read` yields until it yields nothing. For servers
  /// that do not count bytes.
  virtual Status save_log(const std::string& step, const std::function<Result<std::string>()>& read,
                          const StopToken& stop, Monotonic deadline) = 0;

  // Caches and artifacts. A service that has no store for them says so (Unimplemented).

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
