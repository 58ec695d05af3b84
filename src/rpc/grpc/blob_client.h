// SPDX-License-Identifier: MIT
// The agent's side of cirrus.gateway.v1.Blobs over gRPC.
#pragma once

#include <memory>
#include <string>

#include "base/secret.h"
#include "rpc/blob_service.h"

namespace cirrus::rpc {

/// The caches and artifacts of a task, by way of the gateway on the unix socket `socket_path`.
/// Opens nothing before the first call; finds a gateway that was started again by itself.
std::unique_ptr<BlobService> make_blob_client(std::string socket_path, std::string task_id,
                                              Secret agent_secret);

}  // namespace cirrus::rpc
