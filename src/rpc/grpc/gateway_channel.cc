// SPDX-License-Identifier: MIT
#include "rpc/grpc/gateway_channel.h"

#include <grpcpp/grpcpp.h>

namespace cirrus::rpc {
namespace {

constexpr int kMaxMessageBytes = 64 << 20;

}  // namespace

std::shared_ptr<grpc::Channel> GatewayChannel::renew() {
  const std::lock_guard lock(mutex_);
  return renew_locked();
}

std::shared_ptr<grpc::Channel> GatewayChannel::current() {
  const std::lock_guard lock(mutex_);
  return channel_ ? channel_ : renew_locked();
}

std::shared_ptr<grpc::Channel> GatewayChannel::renew_locked() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Each attempt is a channel of its own: a shared subchannel would bring its back-off along.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Ours: a worker that is started again listens within moments.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // What this sets is how long one attempt may take: a guest that is emulated needs its time, and
  // where there is room for one connection a second attempt ends the first.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  channel_ = grpc::CreateCustomChannel(target_, grpc::InsecureChannelCredentials(), arguments);
  return channel_;
}

}  // namespace cirrus::rpc
