// SPDX-License-Identifier: MIT
// The gateway's side of Attach, without gRPC.
//
// Call order: `attach` once per stream with its hello; then `on_message` for each message, in
// order; `on_closed` exactly once, last. Calls for one stream never overlap; different streams
// run on different threads. A session answers through its AgentConnection.
#pragma once

#include <memory>

#include "base/result.h"
#include "base/secret.h"
#include "base/stop.h"
#include "cirrus_gateway.pb.h"
#include "rpc/blob_service.h"
#include "rpc/byte_channel.h"
#include "rpc/reference_task.h"
#include "rpc/shell_hub.h"

namespace cirrus::rpc {

namespace gw = cirrus::gateway::v1;

/// The stream to one attached agent. Thread-safe; sending on a closed stream does nothing.
class AgentConnection {
 public:
  virtual ~AgentConnection() = default;
  virtual void send(gw::GatewayMessage message) = 0;
  /// Ends the stream; `on_closed` follows.
  virtual void close(Error reason) = 0;
  /// Continues reading after a session's `on_message` returned false.
  virtual void resume_reading() = 0;
};

class AgentSession {
 public:
  virtual ~AgentSession() = default;
  /// False: the session cannot take more now and will call `resume_reading`.
  virtual bool on_message(const gw::AgentMessage& message) = 0;
  virtual void on_closed() = 0;
};

class GatewayService {
 public:
  virtual ~GatewayService() = default;
  /// Admits an agent. Errors: Unauthenticated, NotFound; the stream ends with that status.
  virtual Result<std::shared_ptr<AgentSession>> attach(
      const gw::AgentMessage::Hello& hello, std::shared_ptr<AgentConnection> connection) = 0;
  /// Admits one call about a task's caches or artifacts, on a thread that may block.
  /// Errors: Unauthenticated; NotFound for a task that does not run here or has reported its end.
  virtual Result<BlobLease> lend_blobs(const gw::BlobCaller& caller) = 0;
  /// Carries one tunnel to its end, on a thread that may block. Errors: Unauthenticated, NotFound,
  /// and what became of the destination; the tunnel ends with that status.
  virtual Status serve_tunnel(const gw::TunnelMessage::Open& open, ByteChannel& agent) = 0;
  /// Asks the task's Vault server, on a thread that may block. Errors: Unauthenticated, NotFound,
  /// FailedPrecondition if the task has none, and those of the connection.
  virtual Result<gw::VaultReply> call_vault(const gw::VaultRequest& request) = 0;
  /// Admits a call of a reference agent, on a thread that may block. Errors: Unauthenticated;
  /// NotFound for a task that does not run here, or whose agent is one of ours.
  virtual Result<std::shared_ptr<ReferenceTask>> reference_task(const std::string& task_id,
                                                                const std::string& secret) {
    (void)secret;
    return error(Code::NotFound, "no reference agent runs task {} here", task_id);
  }
  /// Where people's shells and agents meet; a task's id is the target.
  virtual ShellHub& shells() = 0;
  /// Whether an agent may listen for its task's shells. Errors: Unauthenticated, NotFound.
  virtual Status admit_listener(const std::string& task_id, const std::string& agent_secret) = 0;
};

}  // namespace cirrus::rpc
