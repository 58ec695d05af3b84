// SPDX-License-Identifier: MIT
#include "rpc/grpc/tunnel_server.h"

#include <utility>

#include "rpc/grpc/status.h"

namespace cirrus::rpc {
namespace {

using Stream = grpc::ServerReaderWriter<gw::TunnelMessage, gw::TunnelMessage>;

class Channel final : public ByteChannel {
 public:
  Channel(grpc::ServerContext& context, Stream& stream) : context_(context), stream_(stream) {}

  Result<std::string> read() override {
    gw::TunnelMessage message;
    while (stream_.Read(&message)) {
      if (message.has_open()) return error(Code::InvalidArgument, "the tunnel is open already");
      if (!message.data().empty()) return std::move(*message.mutable_data());
    }
    return std::string();
  }
  Status write(std::string_view bytes) override {
    if (bytes.empty()) return {};
    gw::TunnelMessage message;
    message.set_data(bytes.data(), bytes.size());
    if (!stream_.Write(message)) return error(Code::Cancelled, "the agent closed the tunnel");
    return {};
  }
  void finish_writing() override {}  // the call's end says it
  void cancel() override { context_.TryCancel(); }

 private:
  grpc::ServerContext& context_;
  Stream& stream_;
};

}  // namespace

grpc::Status serve_tunnel(GatewayService& service, grpc::ServerContext& context, Stream& stream) {
  gw::TunnelMessage message;
  if (!stream.Read(&message) || !message.has_open()) {
    return to_grpc(error(Code::InvalidArgument, "the first message must say where to"));
  }
  Channel channel(context, stream);
  const Status served = service.serve_tunnel(message.open(), channel);
  return served.ok() ? grpc::Status::OK : to_grpc(served.error());
}

}  // namespace cirrus::rpc
