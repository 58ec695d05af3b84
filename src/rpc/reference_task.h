// SPDX-License-Identifier: MIT
// ReferenceTask: one task as a reference agent in its guest sees its server.
//
// Such an agent knows no gateway: it talks to a server, forgets what it reported and sends a log's
// bytes once. So everything is on disk when a call here returns, and what its live logs lost on
// the way comes from the whole log that it sends at each step's end. Source: protocol §7, §8.
// Thread-safe; calls may block.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cirrus_agent.pb.h"
#include "cirrus_gateway.pb.h"
#include "rpc/blob_service.h"

namespace cirrus::rpc {

/// The caches and artifacts of one task, lent for one call. The lender waits for `hold` to go
/// before `service` goes; `stop` says that it wants to.
struct BlobLease {
  std::shared_ptr<void> hold;
  BlobService* service = nullptr;
  StopToken stop;
};

class ReferenceTask {
 public:
  virtual ~ReferenceTask() = default;
  /// What is to be done; the same each time it is asked for.
  virtual org::cirruslabs::ci::services::cirruscigrpc::CommandsResponse initial_commands() = 0;
  /// Keeps what happened; its number and what it comes after are not the caller's to fill in.
  virtual Status report(cirrus::gateway::v1::AgentMessage::Event event) = 0;
  /// The next bytes of a step's live log. Waits while the controller is too far behind.
  virtual Status append_log(const std::string& step, std::string_view bytes) = 0;
  /// A live log did not end as it should: bytes may be missing after those that came.
  virtual void log_broke(const std::string& step) = 0;
  /// A step's log once more and whole, as `read` yields it until it yields nothing: what the live
  /// log has not brought is added. Returns the bytes that were read.
  virtual Result<std::uint64_t> complete_log(const std::string& step,
                                             const std::function<Result<std::string>()>& read) = 0;
  /// The agent's own log, kept beside the task on this worker.
  virtual Status keep_agent_log(std::string_view log) = 0;
  /// Errors: NotFound once the task's end is on disk.
  virtual Result<BlobLease> lend_blobs() = 0;
  /// For files on their way through; removed with the task.
  virtual std::filesystem::path scratch() const = 0;
  /// Whether they may grow. Errors: ResourceExhausted if the disk has little left.
  virtual Status room_for_scratch() const = 0;
};

}  // namespace cirrus::rpc
