// SPDX-License-Identifier: MIT
// The side that wants shells, over gRPC: a gateway and a controller.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "cirrus_shells.grpc.pb.h"
#include "rpc/shell_hub.h"

namespace cirrus::rpc {

/// Waiting listeners cost no thread; a shell that is open has one.
class ShellServer final
    : public shell::v1::Shells::WithCallbackMethod_Listen<shell::v1::Shells::Service> {
 public:
  using Metadata = std::map<std::string, std::string>;
  /// Finds out for which target a caller listens, and answers once, from any thread.
  using Identify = std::function<void(const Metadata& metadata,
                                      std::function<void(Result<std::string> target)> answer)>;

  /// `hub` must outlive the server.
  ShellServer(ShellHub& hub, Identify identify) : hub_(hub), identify_(std::move(identify)) {}

  grpc::ServerWriteReactor<ShellOrder>* Listen(grpc::CallbackServerContext* context,
                                               const shell::v1::ListenRequest* request) override;
  grpc::Status Carry(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<shell::v1::ShellBytes, shell::v1::ShellBytes>* stream) override;

 private:
  ShellHub& hub_;
  const Identify identify_;
};

}  // namespace cirrus::rpc
