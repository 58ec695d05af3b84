// SPDX-License-Identifier: MIT
#include "rpc/grpc/shell_client.h"

#include <grpcpp/grpcpp.h>

#include "cirrus_shells.grpc.pb.h"
#include "rpc/grpc/status.h"

namespace cirrus::rpc {
namespace {

namespace pb = shell::v1;

void add_all(grpc::ClientContext& context, const CallMetadata& metadata) {
  for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
}

class CarriedShell final : public ByteChannel {
 public:
  CarriedShell(std::unique_ptr<pb::Shells::Stub> stub, const CallMetadata& metadata,
               const std::string& session)
      : stub_(std::move(stub)) {
    add_all(context_, metadata);
    stream_ = stub_->Carry(&context_);
    pb::ShellBytes first;
    first.set_session(session);
    (void)stream_->Write(first);  // what becomes of it the first read says
  }
  ~CarriedShell() override {
    if (ended_) return;
    context_.TryCancel();
    pb::ShellBytes ignored;
    while (stream_->Read(&ignored)) {
    }
    (void)stream_->Finish();
  }
  Result<std::string> read() override {
    if (ended_) return std::string();
    pb::ShellBytes message;
    while (stream_->Read(&message)) {
      if (!message.data().empty()) return std::move(*message.mutable_data());
    }
    ended_ = true;
    CIRRUS_TRY(from_grpc(stream_->Finish()));
    return std::string();
  }
  Status write(std::string_view bytes) override {
    pb::ShellBytes message;
    message.set_data(bytes.data(), bytes.size());
    if (finished_ || !stream_->Write(message))
      return error(Code::Unavailable, "the shell was closed");
    return {};
  }
  void finish_writing() override {
    // The library ends the whole process if it is told twice.
    if (!std::exchange(finished_, true)) (void)stream_->WritesDone();
  }
  void cancel() override { context_.TryCancel(); }

 private:
  const std::unique_ptr<pb::Shells::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<pb::ShellBytes, pb::ShellBytes>> stream_;
  bool ended_ = false;     // the reader only
  bool finished_ = false;  // the writer only
};

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
    return std::unique_ptr<ByteChannel>(
        std::make_unique<CarriedShell>(pb::Shells::NewStub(channel_()), metadata_(), session));
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
