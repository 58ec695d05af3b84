// SPDX-License-Identifier: MIT
#include "rpc/grpc/tunnel_client.h"

#include <utility>

#include <grpcpp/grpcpp.h>

#include "base/clock.h"
#include "cirrus_gateway.grpc.pb.h"
#include "rpc/grpc/status.h"

namespace cirrus::rpc {
namespace {

namespace gw = cirrus::gateway::v1;

// Ours: bytes of a message.
constexpr std::size_t kChunk = 256 * 1024;
// Ours: longer than the gateway waits for the server.
constexpr std::chrono::seconds kVaultTime{60};

class Channel final : public ByteChannel {
 public:
  Channel(std::unique_ptr<gw::Gateway::Stub> stub, const gw::TunnelMessage& open)
      : stub_(std::move(stub)), stream_(stub_->Tunnel(&context_)) {
    (void)stream_->Write(open);  // what becomes of it the first read says
  }
  ~Channel() override {
    if (ended_) return;
    context_.TryCancel();
    gw::TunnelMessage ignored;
    while (stream_->Read(&ignored)) {
    }
    (void)stream_->Finish();
  }

  Result<std::string> read() override {
    if (ended_) return std::string();
    gw::TunnelMessage message;
    while (stream_->Read(&message)) {
      if (!message.data().empty()) return std::move(*message.mutable_data());
    }
    ended_ = true;
    CIRRUS_TRY(from_grpc(stream_->Finish()));
    return std::string();
  }
  Status write(std::string_view bytes) override {
    gw::TunnelMessage message;
    for (; !bytes.empty(); bytes.remove_prefix(std::min(kChunk, bytes.size()))) {
      const std::string_view chunk = bytes.substr(0, kChunk);
      message.set_data(chunk.data(), chunk.size());
      if (!stream_->Write(message)) return error(Code::Unavailable, "the tunnel was closed");
    }
    return {};
  }
  void finish_writing() override { (void)stream_->WritesDone(); }
  void cancel() override { context_.TryCancel(); }

 private:
  const std::unique_ptr<gw::Gateway::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<gw::TunnelMessage, gw::TunnelMessage>> stream_;
  bool ended_ = false;  // the reader only
};

class Client final : public TunnelLink {
 public:
  Client(std::shared_ptr<GatewayChannel> channel, std::string task_id, Secret agent_secret)
      : channel_(std::move(channel)),
        task_id_(std::move(task_id)),
        agent_secret_(std::move(agent_secret)) {}

  Result<std::unique_ptr<ByteChannel>> open(gw::TunnelMessage::Open open) override {
    open.set_task_id(task_id_);
    open.set_agent_secret(agent_secret_.reveal());
    gw::TunnelMessage message;
    *message.mutable_open() = std::move(open);
    return std::unique_ptr<ByteChannel>(
        std::make_unique<Channel>(gw::Gateway::NewStub(channel_->current()), message));
  }

 private:
  const std::shared_ptr<GatewayChannel> channel_;
  const std::string task_id_;
  const Secret agent_secret_;
};

class VaultClient final : public VaultLink {
 public:
  VaultClient(std::shared_ptr<GatewayChannel> channel, std::string task_id, Secret agent_secret)
      : channel_(std::move(channel)),
        task_id_(std::move(task_id)),
        agent_secret_(std::move(agent_secret)) {}

  Result<VaultAnswer> call(const VaultCall& call) override {
    gw::VaultRequest request;
    request.mutable_caller()->set_task_id(task_id_);
    request.mutable_caller()->set_agent_secret(agent_secret_.reveal());
    request.set_method(call.method);
    request.set_path(call.path);
    request.set_body(call.body);
    request.set_token(call.token);
    request.set_name_space(call.name_space);
    gw::VaultReply reply;
    grpc::ClientContext context;
    context.set_deadline(system_clock().wall() + kVaultTime);
    CIRRUS_TRY(from_grpc(gw::Vault::NewStub(channel_->current())->Call(&context, request, &reply)));
    return VaultAnswer{static_cast<long>(reply.status()), reply.body()};
  }

 private:
  const std::shared_ptr<GatewayChannel> channel_;
  const std::string task_id_;
  const Secret agent_secret_;
};

}  // namespace

std::unique_ptr<VaultLink> make_vault_client(std::shared_ptr<GatewayChannel> channel,
                                             std::string task_id, Secret agent_secret) {
  return std::make_unique<VaultClient>(std::move(channel), std::move(task_id),
                                       std::move(agent_secret));
}

std::unique_ptr<TunnelLink> make_tunnel_client(std::shared_ptr<GatewayChannel> channel,
                                               std::string task_id, Secret agent_secret) {
  return std::make_unique<Client>(std::move(channel), std::move(task_id), std::move(agent_secret));
}

}  // namespace cirrus::rpc
