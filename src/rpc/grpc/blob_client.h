// SPDX-License-Identifier: MIT
// The agent's side of cirrus.gateway.v1.Blobs over gRPC.
#pragma once

#include <memory>
#include <string>

#include "base/secret.h"
#include "rpc/blob_service.h"
#include "rpc/grpc/gateway_channel.h"

namespace cirrus::rpc {

/// The caches and artifacts of a task, by way of the gateway behind `channel`. Opens nothing before
/// the first call; finds a gateway that was started again.
std::unique_ptr<BlobService> make_blob_client(std::shared_ptr<grpc::Channel> channel,
                                              std::string task_id, Secret agent_secret);

}  // namespace cirrus::rpc
