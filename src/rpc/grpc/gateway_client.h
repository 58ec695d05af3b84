// SPDX-License-Identifier: MIT
// The agent's side of cirrus.gateway.v1.Gateway over gRPC.
#pragma once

#include <memory>
#include <string>

#include "rpc/gateway_link.h"

namespace cirrus::rpc {

/// A link to the gateway that listens on the unix socket `socket_path`. Starts no thread and opens
/// nothing before connect(). Proxies are never used.
std::unique_ptr<GatewayLink> make_gateway_client(std::string socket_path);

/// The part of the library's start-up that starts no thread, for agents kept ready.
void warm_up_gateway_client();

}  // namespace cirrus::rpc
