// SPDX-License-Identifier: MIT
// One task from its bootstrap to the acknowledged end.
#pragma once

#include <functional>
#include <string_view>

#include "base/result.h"
#include "cirrus_gateway.pb.h"
#include "rpc/blob_service.h"
#include "rpc/byte_channel.h"
#include "rpc/gateway_link.h"
#include "rpc/shell_hub.h"
#include "rpc/vault_link.h"

namespace cirrus::agent {

/// Blocks the signals an agent reacts to. To be called first, before any thread exists.
void block_task_signals();

/// Runs the task and returns once the gateway has acknowledged everything. Errors: Unavailable if
/// no gateway was found until 15 minutes past the task's time (its processes are dead then);
/// others if the agent cannot get pipes or threads. `on_delivered` is called when all is done but
/// the taking down of connections, which a process about to exit can spare itself.
Status serve(const gateway::v1::Bootstrap& bootstrap, rpc::GatewayLink& link,
             rpc::BlobService& blobs, rpc::TunnelLink& tunnels, rpc::VaultLink& vault,
             rpc::ShellLink& shells, std::string_view version,
             const std::function<void()>& on_delivered);

}  // namespace cirrus::agent
