// SPDX-License-Identifier: MIT
// The in-memory gateway behind a real unix socket and real gRPC.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include <grpcpp/grpcpp.h>

#include "cirrus_gateway.grpc.pb.h"
#include "rpc/testing/fake_gateway.h"

namespace cirrus::tests {

/// Serves one FakeGateway on a socket path until destroyed.
class AttachServer {
 public:
  AttachServer(const std::string& path, rpc::testing::FakeGateway& gateway) : service_(gateway) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials());
    builder.SetMaxReceiveMessageSize(16 << 20);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }
  ~AttachServer() {
    server_->Shutdown(std::chrono::system_clock::time_point());  // in the past: streams end now
    server_->Wait();
  }
  AttachServer(const AttachServer&) = delete;
  AttachServer& operator=(const AttachServer&) = delete;

 private:
  class Service final : public gateway::v1::Gateway::Service {
   public:
    explicit Service(rpc::testing::FakeGateway& gateway) : gateway_(gateway) {}
    grpc::Status Attach(grpc::ServerContext* context,
                        grpc::ServerReaderWriter<gateway::v1::GatewayMessage,
                                                 gateway::v1::AgentMessage>* stream) override {
      const std::unique_ptr<rpc::GatewayStream> inner = std::move(gateway_.connect()).value();
      std::jthread answers([&] {
        gateway::v1::GatewayMessage answer;
        while (inner->read(answer) && stream->Write(answer)) {
        }
        context->TryCancel();
      });
      gateway::v1::AgentMessage message;
      while (stream->Read(&message) && inner->write(message)) {
      }
      inner->cancel();
      return grpc::Status::OK;
    }

   private:
    rpc::testing::FakeGateway& gateway_;
  };

  Service service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace cirrus::tests
