// SPDX-License-Identifier: MIT
#include "rpc/grpc/shell_client.h"

#include <grpcpp/grpcpp.h>

#include "cirrus_shells.grpc.pb.h"
#include "rpc/grpc/status.h"
#include "rpc/grpc/stream_channels.h"

namespace cirrus::rpc {
namespace {

namespace pb = shell::v1;

void add_all(grpc::ClientContext& context, const CallMetadata& metadata) {
  for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
}

class Client final : public ShellLink {
 public:
  Client(std::function<std::shared_ptr<grpc::Channel>()> channel,
         std::function<CallMetadata()> metadata)
      : channel_(std::move(channel)), metadata_(std::move(metadata)) {}

  Status listen(const StopToken& stop,
                const std::function<void(const ShellOrder&)>& on_order) override {
    grpc::ClientContext context;
    add_all(context, metadata_());
    const StopCallback cancel_on_stop(stop, [&context] { context.TryCancel(); });
    const std::unique_ptr<pb::Shells::Stub> stub = pb::Shells::NewStub(channel_());
    const std::unique_ptr<grpc::ClientReader<ShellOrder>> reader =
        stub->Listen(&context, pb::ListenRequest());
    ShellOrder order;
    while (reader->Read(&order)) on_order(order);
    return from_grpc(reader->Finish());
  }
  Result<std::unique_ptr<ByteChannel>> carry(const std::string& session) override {
    pb::ShellBytes first;
    first.set_session(session);
    const std::shared_ptr<pb::Shells::Stub> stub = pb::Shells::NewStub(channel_());
    return std::unique_ptr<ByteChannel>(std::make_unique<ClientStreamChannel<pb::ShellBytes>>(
        [stub, metadata = metadata_()](grpc::ClientContext& context) {
          add_all(context, metadata);
          return stub->Carry(&context);
        },
        first, "the shell was closed"));
  }

 private:
  const std::function<std::shared_ptr<grpc::Channel>()> channel_;
  const std::function<CallMetadata()> metadata_;
};

}  // namespace

std::unique_ptr<ShellLink> make_shell_client(
    std::function<std::shared_ptr<grpc::Channel>()> channel,
    std::function<CallMetadata()> metadata) {
  return std::make_unique<Client>(std::move(channel), std::move(metadata));
}

}  // namespace cirrus::rpc
