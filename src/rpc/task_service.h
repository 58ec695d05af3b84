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
#include <map>
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
#include "rpc/blob_service.h"
#include "rpc/peer.h"

namespace cirrus::rpc {

namespace pb = org::cirruslabs::ci::services::cirruscigrpc;

/// Proves that the caller acts for one attempt of one task.
struct TaskCredential {
  std::string task_id;
  Secret client_secret;
  Secret server_secret;
};

/// By step, how many bytes of its log come before a report.
using LogPositions = std::map<std::string, std::uint64_t>;

/// What a server has of one step's log, in bytes from its beginning.
struct LogAck {
  std::uint64_t stored = 0;
  /// Of these, what its disk has for certain: it will never ask for them again. 0: it does not say.
  std::uint64_t synced = 0;
};

/// One open log upload of one step.
class LogStream {
 public:
  virtual ~LogStream() = default;
  /// How many bytes of this step the server has already; absent: a reference server, which does
  /// not count. Blocks until the server answered.
  virtual Result<std::optional<std::uint64_t>> stored() = 0;
  virtual Status write(std::string_view bytes) = 0;
  /// Half-closes and waits.
  virtual Result<LogAck> finish() = 0;
};

class TaskService : public BlobService {
 public:
  virtual Result<pb::CommandsResponse> initial_commands(const pb::InitialCommandsRequest& request,
                                                        const StopToken& stop,
                                                        Monotonic deadline) = 0;
  /// `after`: what the server has acknowledged. Errors: DataLoss if it has less now (its machine
  /// lost its power): ask with `open_log` for what, and send that again first.
  virtual Status report_updates(const pb::ReportCommandUpdatesRequest& request,
                                const LogPositions& after, const StopToken& stop,
                                Monotonic deadline) = 0;
  /// The same.
  virtual Status report_finished(const pb::ReportAgentFinishedRequest& request,
                                 const LogPositions& after, const StopToken& stop,
                                 Monotonic deadline) = 0;
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
};

}  // namespace cirrus::rpc
