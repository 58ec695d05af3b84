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

/// Starts the library, its idle threads included, so that connect() need not: for an agent that
/// waits for its task. Takes a few milliseconds. Processes started by posix_spawn do not mind.
void warm_up_gateway_client();

}  // namespace cirrus::rpc
