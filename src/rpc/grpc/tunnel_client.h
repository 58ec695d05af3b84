// SPDX-License-Identifier: MIT
// The agent's side of tunnels, and of calls to Vault, over gRPC.
#pragma once

#include <memory>
#include <string>

#include "base/secret.h"
#include "rpc/byte_channel.h"
#include "rpc/grpc/gateway_channel.h"
#include "rpc/vault_link.h"

namespace cirrus::rpc {

/// Tunnels of one task over the agent's connection.
std::unique_ptr<TunnelLink> make_tunnel_client(std::shared_ptr<grpc::Channel> channel,
                                               std::string task_id, Secret agent_secret);

/// Calls to the task's Vault server over the same connection.
std::unique_ptr<VaultLink> make_vault_client(std::shared_ptr<grpc::Channel> channel,
                                             std::string task_id, Secret agent_secret);

}  // namespace cirrus::rpc
