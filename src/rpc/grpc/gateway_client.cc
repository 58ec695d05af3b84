// SPDX-License-Identifier: MIT
#include "rpc/grpc/gateway_client.h"

#include <utility>

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>

#include "cirrus_gateway.grpc.pb.h"

namespace cirrus::rpc {
namespace {

using gateway::v1::AgentMessage;
using gateway::v1::Gateway;
using gateway::v1::GatewayMessage;

class AttachStream final : public GatewayStream {
 public:
  explicit AttachStream(std::shared_ptr<grpc::Channel> channel)
      : channel_(std::move(channel)),
        stub_(Gateway::NewStub(channel_)),
        stream_(stub_->Attach(&context_)) {}
  AttachStream(const AttachStream&) = delete;
  AttachStream& operator=(const AttachStream&) = delete;
  ~AttachStream() override {
    context_.TryCancel();
    // Whatever the status says, the caller can only connect again.
    static_cast<void>(stream_->Finish());
  }

  bool write(const AgentMessage& message) override { return stream_->Write(message); }
  bool read(GatewayMessage& message) override { return stream_->Read(&message); }
  void cancel() override { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Gateway::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<AgentMessage, GatewayMessage>> stream_;
};

class GatewayClient final : public GatewayLink {
 public:
  explicit GatewayClient(std::shared_ptr<grpc::Channel> channel) : channel_(std::move(channel)) {}

  Result<std::unique_ptr<GatewayStream>> connect() override {
    return std::unique_ptr<GatewayStream>(std::make_unique<AttachStream>(channel_));
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace

std::unique_ptr<GatewayLink> make_gateway_client(std::shared_ptr<grpc::Channel> channel) {
  return std::make_unique<GatewayClient>(std::move(channel));
}

void warm_up_gateway_client() {
  ::grpc_init();  // never undone: the library stays for the life of the process
  // A channel nobody calls connects to nothing, but fills in what all channels share.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto channel =
      grpc::CreateCustomChannel("unix:/nowhere", grpc::InsecureChannelCredentials(), arguments);
  static_cast<void>(AgentMessage::descriptor());
}

}  // namespace cirrus::rpc
