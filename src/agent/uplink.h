// SPDX-License-Identifier: MIT
// Uplink: keeps the outbox flowing to the gateway, through any number of connections.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "agent/outbox.h"
#include "base/clock.h"
#include "base/guarded.h"
#include "base/secret.h"
#include "base/stop.h"
#include "rpc/gateway_link.h"

namespace cirrus::agent {

/// Connects, proves both identities, resumes and sends; on loss it starts over with a new stream.
///
///   connecting --hello--> greeting --welcome with the right secret--> attached
///       ^                    |                                           |
///       +---- 5 ms .. 200 ms +------------- stream broken ---------------+
///
/// One thread of its own writes, a second one lives as long as a stream and reads.
class Uplink {
 public:
  struct Options {
    std::string task_id;
    Secret agent_secret;
    Secret gateway_secret;
    std::string agent_version;
    std::chrono::milliseconds first_delay{5};
    std::chrono::milliseconds longest_delay{200};
  };
  /// Called on the reading thread for a stop order; must not block.
  using OnCancel = std::function<void(const std::string& reason)>;

  /// `link` and `outbox` must outlive the uplink.
  Uplink(Options options, rpc::GatewayLink& link, Outbox& outbox, OnCancel on_cancel);
  Uplink(const Uplink&) = delete;
  Uplink& operator=(const Uplink&) = delete;
  /// Stops: what is not acknowledged by then is lost.
  ~Uplink();

  /// Starts connecting. Called once; separate, so that the first script can be spawned before.
  void start();
  /// Whether a stream is attached now.
  bool attached() const;

 private:
  void run(const StopToken& stop);
  /// One connection from hello to its end. True if it was attached at some time.
  bool serve(const StopToken& stop);
  /// Says hello and checks the answer. Only after true may anything else be sent.
  bool greet(rpc::GatewayStream& stream);
  void read_all(rpc::GatewayStream& stream, StopSource& broken);

  // Constant after construction.
  const Options options_;
  rpc::GatewayLink& link_;
  Outbox& outbox_;
  const OnCancel on_cancel_;

  Guarded<bool> attached_;
  Thread thread_;  // last: stopped and joined first
};

}  // namespace cirrus::agent
