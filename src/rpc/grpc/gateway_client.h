// SPDX-License-Identifier: MIT
// The agent's side of cirrus.gateway.v1.Gateway over gRPC.
#pragma once

#include <memory>

#include "rpc/gateway_link.h"
#include "rpc/grpc/gateway_channel.h"

namespace cirrus::rpc {

/// A link to the gateway behind `channel`. Starts no thread and opens nothing before connect().
std::unique_ptr<GatewayLink> make_gateway_client(std::shared_ptr<grpc::Channel> channel);

/// Starts the library, its idle threads included, so that connect() need not: for an agent that
/// waits for its task. Takes a few milliseconds. Processes started by posix_spawn do not mind.
void warm_up_gateway_client();

}  // namespace cirrus::rpc
