// SPDX-License-Identifier: MIT
#include "rpc/grpc/tunnel_client.h"

#include <utility>

#include <grpcpp/grpcpp.h>

#include "base/clock.h"
#include "cirrus_gateway.grpc.pb.h"
#include "rpc/grpc/status.h"
#include "rpc/grpc/stream_channels.h"

namespace cirrus::rpc {
namespace {

namespace gw = cirrus::gateway::v1;

// Ours: longer than the gateway waits for the server.
constexpr std::chrono::seconds kVaultTime{60};

class Client final : public TunnelLink {
 public:
  Client(std::shared_ptr<grpc::Channel> channel, std::string task_id, Secret agent_secret)
      : channel_(std::move(channel)),
        task_id_(std::move(task_id)),
        agent_secret_(std::move(agent_secret)) {}

  Result<std::unique_ptr<ByteChannel>> open(gw::TunnelMessage::Open open) override {
    open.set_task_id(task_id_);
    open.set_agent_secret(agent_secret_.reveal());
    gw::TunnelMessage message;
    *message.mutable_open() = std::move(open);
    const std::shared_ptr<gw::Gateway::Stub> stub = gw::Gateway::NewStub(channel_);
    return std::unique_ptr<ByteChannel>(std::make_unique<ClientStreamChannel<gw::TunnelMessage>>(
        [stub](grpc::ClientContext& context) {
          // A worker that is started again is soon back.
          context.set_wait_for_ready(true);
          return stub->Tunnel(&context);
        },
        message, "the tunnel was closed"));
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::string task_id_;
  const Secret agent_secret_;
};

class VaultClient final : public VaultLink {
 public:
  VaultClient(std::shared_ptr<grpc::Channel> channel, std::string task_id, Secret agent_secret)
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
    CIRRUS_TRY(from_grpc(gw::Vault::NewStub(channel_)->Call(&context, request, &reply)));
    return VaultAnswer{static_cast<long>(reply.status()), reply.body()};
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::string task_id_;
  const Secret agent_secret_;
};

}  // namespace

std::unique_ptr<VaultLink> make_vault_client(std::shared_ptr<grpc::Channel> channel,
                                             std::string task_id, Secret agent_secret) {
  return std::make_unique<VaultClient>(std::move(channel), std::move(task_id),
                                       std::move(agent_secret));
}

std::unique_ptr<TunnelLink> make_tunnel_client(std::shared_ptr<grpc::Channel> channel,
                                               std::string task_id, Secret agent_secret) {
  return std::make_unique<Client>(std::move(channel), std::move(task_id), std::move(agent_secret));
}

}  // namespace cirrus::rpc
