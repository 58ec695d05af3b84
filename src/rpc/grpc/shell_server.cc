// SPDX-License-Identifier: MIT
#include "rpc/grpc/shell_server.h"

#include <utility>

#include "rpc/grpc/queued_reactor.h"
#include "rpc/grpc/status.h"
#include "rpc/grpc/stream_channels.h"

namespace cirrus::rpc {
namespace {

namespace pb = shell::v1;

/// One listener's stream.
class OrdersReactor final
    : public QueuedReactor<OrdersReactor, grpc::ServerWriteReactor<ShellOrder>, ShellOrder> {
 public:
  explicit OrdersReactor(ShellHub& hub) : hub_(hub) { mailbox()->reactor = this; }

  /// With the mailbox's lock held.
  void begin(Result<std::string> target) {
    if (finished()) return;
    if (!target.ok()) return finish(to_grpc(target.error()));
    target_ = std::move(target).value();
    number_ = hub_.add_listener(target_, [box = mailbox()](const ShellOrder& order) {
      box->use([&order](OrdersReactor& reactor) { reactor.send(order); });
    });
    StartSendInitialMetadata();
  }

 private:
  void on_gone() override {
    if (number_ != 0) hub_.remove_listener(target_, number_);
  }

  ShellHub& hub_;
  // Guarded by the mailbox's mutex:
  std::string target_;
  std::uint64_t number_ = 0;
};

using CarriedShell = ServerStreamChannel<pb::ShellBytes>;

}  // namespace

grpc::ServerWriteReactor<ShellOrder>* ShellServer::Listen(grpc::CallbackServerContext* context,
                                                          const pb::ListenRequest*) {
  Metadata metadata;
  for (const auto& [key, value] : context->client_metadata()) {
    metadata.emplace(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
  }
  metadata["peer"] = context->peer();
  auto* const reactor = new OrdersReactor(hub_);  // deletes itself
  identify_(metadata, [box = reactor->mailbox()](Result<std::string> target) {
    box->use([&target](OrdersReactor& opened) { opened.begin(std::move(target)); });
  });
  return reactor;
}

grpc::Status ShellServer::Carry(grpc::ServerContext* context, CarriedShell::Stream* stream) {
  pb::ShellBytes first;
  if (!stream->Read(&first) || first.session().empty()) {
    return to_grpc(error(Code::InvalidArgument, "the first message must say which shell"));
  }
  CarriedShell peer(*context, *stream, "the shell was closed");
  return to_grpc(hub_.carry(first.session(), peer));
}

}  // namespace cirrus::rpc
