// SPDX-License-Identifier: MIT
// GatewayLink: the task gateway as an agent sees it, without gRPC in sight.
//
// Call order: connect(); on the stream it returned write() and read(), from one thread each; then
// cancel() from any thread, as often as you like; then destroy the stream. Reconnecting, resuming
// and checking secrets are the caller's business.
#pragma once

#include <memory>

#include "base/result.h"
#include "cirrus_gateway.pb.h"

namespace cirrus::rpc {

/// One attached stream. write() and read() may run at the same time on two threads.
class GatewayStream {
 public:
  /// Cancels and waits for the library to let go; no call may be running.
  virtual ~GatewayStream() = default;
  /// Blocks until the message is accepted by the transport. False: the stream is broken.
  virtual bool write(const gateway::v1::AgentMessage& message) = 0;
  /// Blocks until a message arrives. False: the stream has ended; it never recovers.
  virtual bool read(gateway::v1::GatewayMessage& message) = 0;
  /// Ends the stream; calls that block return false at once. Thread-safe.
  virtual void cancel() = 0;
};

/// Makes streams to one task gateway. Not thread-safe.
class GatewayLink {
 public:
  virtual ~GatewayLink() = default;
  /// A new channel with a new Attach stream on it. It may turn out to be broken only at the first
  /// read. Errors: Unavailable if the gateway is known not to listen.
  virtual Result<std::unique_ptr<GatewayStream>> connect() = 0;
};

}  // namespace cirrus::rpc
