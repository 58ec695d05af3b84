// SPDX-License-Identifier: MIT
// The gateway's side of one tunnel over gRPC.
#pragma once

#include <grpcpp/server_context.h>

#include "cirrus_gateway.grpc.pb.h"
#include "rpc/gateway_service.h"

namespace cirrus::rpc {

/// Hands a tunnel to the service and answers with how it ended. Blocks until then.
grpc::Status serve_tunnel(GatewayService& service, grpc::ServerContext& context,
                          grpc::ServerReaderWriter<gw::TunnelMessage, gw::TunnelMessage>& stream);

}  // namespace cirrus::rpc
