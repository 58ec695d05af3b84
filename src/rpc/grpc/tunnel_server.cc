// SPDX-License-Identifier: MIT
#include "rpc/grpc/tunnel_server.h"

#include <utility>

#include "rpc/grpc/status.h"
#include "rpc/grpc/stream_channels.h"

namespace cirrus::rpc {
namespace {

using Channel = ServerStreamChannel<gw::TunnelMessage>;
using Stream = grpc::ServerReaderWriter<gw::TunnelMessage, gw::TunnelMessage>;

Status check_later(const gw::TunnelMessage& message) {
  if (message.has_open()) return error(Code::InvalidArgument, "the tunnel is open already");
  return {};
}

}  // namespace

grpc::Status serve_tunnel(GatewayService& service, grpc::ServerContext& context, Stream& stream) {
  gw::TunnelMessage message;
  if (!stream.Read(&message) || !message.has_open()) {
    return to_grpc(error(Code::InvalidArgument, "the first message must say where to"));
  }
  Channel channel(context, stream, "the agent closed the tunnel", check_later);
  const Status served = service.serve_tunnel(message.open(), channel);
  return to_grpc(served);
}

}  // namespace cirrus::rpc
