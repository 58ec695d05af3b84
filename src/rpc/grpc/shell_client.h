// SPDX-License-Identifier: MIT
// The side that has the shells, over gRPC: an agent towards its gateway, a worker towards its
// controller.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rpc/shell_hub.h"

namespace grpc {
class Channel;
}

namespace cirrus::rpc {

using CallMetadata = std::vector<std::pair<std::string, std::string>>;

/// `channel` and `metadata` are asked for each call, because both change with reconnects.
std::unique_ptr<ShellLink> make_shell_client(
    std::function<std::shared_ptr<grpc::Channel>()> channel,
    std::function<CallMetadata()> metadata);

/// Who listens at a gateway.
inline constexpr char kShellTask[] = "cirrus-task-id";
inline constexpr char kShellSecret[] = "cirrus-agent-secret";

}  // namespace cirrus::rpc
