// SPDX-License-Identifier: MIT
#include "rpc/grpc/shell_server.h"

#include <deque>
#include <mutex>
#include <utility>

#include "rpc/grpc/status.h"
#include "rpc/grpc/stream_channels.h"

namespace cirrus::rpc {
namespace {

namespace pb = shell::v1;

/// One listener's stream. Owns itself from the call's start to OnDone. What others hold of it is
/// its Mailbox, which outlives it.
class OrdersReactor final : public grpc::ServerWriteReactor<ShellOrder> {
 public:
  struct Mailbox {
    std::mutex mutex;
    OrdersReactor* reactor = nullptr;  // guarded by mutex; null once the stream is done
  };

  explicit OrdersReactor(ShellHub& hub) : hub_(hub), mailbox_(std::make_shared<Mailbox>()) {
    mailbox_->reactor = this;
  }
  const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }

  /// With the mailbox's lock held.
  void begin(Result<std::string> target) {
    if (finished_) return;
    if (!target.ok()) return finish(to_grpc(target.error()));
    target_ = std::move(target).value();
    number_ = hub_.add_listener(target_, [box = mailbox_](const ShellOrder& order) {
      const std::lock_guard lock(box->mutex);
      if (box->reactor != nullptr) box->reactor->send(order);
    });
    StartSendInitialMetadata();
  }

  void OnWriteDone(bool ok) override {
    const std::shared_ptr<Mailbox> box = mailbox_;  // Finish may end this object
    const std::lock_guard lock(box->mutex);
    writing_ = false;
    orders_.pop_front();
    if (ok) return write_next();
    finish(grpc::Status::CANCELLED);
  }
  void OnCancel() override {
    const std::shared_ptr<Mailbox> box = mailbox_;
    const std::lock_guard lock(box->mutex);
    finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    {
      const std::lock_guard lock(mailbox_->mutex);
      mailbox_->reactor = nullptr;
    }
    if (number_ != 0) hub_.remove_listener(target_, number_);
    delete this;
  }

 private:
  void send(const ShellOrder& order) {
    if (finished_) return;
    orders_.push_back(order);
    write_next();
  }
  void write_next() {
    if (writing_ || finished_ || orders_.empty()) return;
    writing_ = true;
    StartWrite(&orders_.front());
  }
  void finish(const grpc::Status& status) {
    if (std::exchange(finished_, true)) return;
    Finish(status);
  }

  ShellHub& hub_;
  const std::shared_ptr<Mailbox> mailbox_;
  // Guarded by the mailbox's mutex:
  std::string target_;
  std::uint64_t number_ = 0;
  std::deque<ShellOrder> orders_;
  bool writing_ = false;
  bool finished_ = false;
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
    const std::lock_guard lock(box->mutex);
    if (box->reactor != nullptr) box->reactor->begin(std::move(target));
  });
  return reactor;
}

grpc::Status ShellServer::Carry(grpc::ServerContext* context, CarriedShell::Stream* stream) {
  pb::ShellBytes first;
  if (!stream->Read(&first) || first.session().empty()) {
    return to_grpc(error(Code::InvalidArgument, "the first message must say which shell"));
  }
  CarriedShell peer(*context, *stream, "the shell was closed");
  const Status carried = hub_.carry(first.session(), peer);
  return carried.ok() ? grpc::Status::OK : to_grpc(carried.error());
}

}  // namespace cirrus::rpc
