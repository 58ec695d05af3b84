// SPDX-License-Identifier: MIT
// GatewayChannel: an agent's one connection to its gateway.
#pragma once

#include <memory>
#include <mutex>
#include <string>

namespace grpc {
class Channel;
}

namespace cirrus::rpc {

/// All calls of an agent share a connection, because in a VM there is one byte stream to the
/// worker and no more. The stream that is attached decides when a new one is due. Proxies are
/// never used. Thread-safe.
class GatewayChannel {
 public:
  /// `socket_path`: the gateway's unix socket.
  explicit GatewayChannel(std::string socket_path) : target_("unix:" + std::move(socket_path)) {}
  /// A new channel, which current() gives from here on. Nothing is opened yet.
  std::shared_ptr<grpc::Channel> renew();
  /// The channel of the present stream, or a first one.
  std::shared_ptr<grpc::Channel> current();

 private:
  std::shared_ptr<grpc::Channel> renew_locked();

  const std::string target_;
  std::mutex mutex_;
  std::shared_ptr<grpc::Channel> channel_;  // guarded by mutex_
};

}  // namespace cirrus::rpc
