// SPDX-License-Identifier: MIT
// Both ends of a call whose messages carry bytes in a field `data`, as a ByteChannel.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "rpc/byte_channel.h"
#include "rpc/grpc/status.h"

namespace cirrus::rpc {

/// The caller's end. One thread may read while another writes.
template <typename Message>
class ClientStreamChannel final : public ByteChannel {
 public:
  using Stream = std::unique_ptr<grpc::ClientReaderWriter<Message, Message>>;
  /// `open` makes the call and keeps its stub; `first` says what the call is for, and what becomes
  /// of that the first read says. `closed`: the sentence for a write that came too late.
  ClientStreamChannel(std::function<Stream(grpc::ClientContext&)> open, const Message& first,
                      const char* closed)
      : open_(std::move(open)), closed_(closed), stream_(open_(context_)) {
    (void)stream_->Write(first);
  }
  ~ClientStreamChannel() override {
    if (ended_) return;
    context_.TryCancel();
    Message ignored;
    while (stream_->Read(&ignored)) {
    }
    (void)stream_->Finish();
  }

  Result<std::string> read() override {
    if (ended_) return std::string();
    Message message;
    while (stream_->Read(&message)) {
      if (!message.data().empty()) return std::move(*message.mutable_data());
    }
    ended_ = true;
    CIRRUS_TRY(from_grpc(stream_->Finish()));
    return std::string();
  }
  Status write(std::string_view bytes) override {
    Message message;
    for (; !bytes.empty(); bytes.remove_prefix(std::min(kChunk, bytes.size()))) {
      const std::string_view chunk = bytes.substr(0, kChunk);
      message.set_data(chunk.data(), chunk.size());
      if (finished_ || !stream_->Write(message)) return error(Code::Unavailable, "{}", closed_);
    }
    return {};
  }
  void finish_writing() override {
    // The library ends the whole process if it is told twice.
    if (!std::exchange(finished_, true)) (void)stream_->WritesDone();
  }
  void cancel() override { context_.TryCancel(); }

 private:
  // Ours: bytes of a message.
  static constexpr std::size_t kChunk = 256 * 1024;

  const std::function<Stream(grpc::ClientContext&)> open_;
  const char* const closed_;
  grpc::ClientContext context_;
  const Stream stream_;
  bool ended_ = false;     // the reader only
  bool finished_ = false;  // the writer only
};

/// The serving end; the call's end is the end of what it writes.
template <typename Message>
class ServerStreamChannel final : public ByteChannel {
 public:
  using Stream = grpc::ServerReaderWriter<Message, Message>;
  /// `check` refuses messages that may not come after the first; both arguments outlive this.
  ServerStreamChannel(
      grpc::ServerContext& context, Stream& stream, const char* closed,
      Status (*check)(const Message&) = [](const Message&) { return Status(); })
      : context_(context), stream_(stream), closed_(closed), check_(check) {}

  Result<std::string> read() override {
    Message message;
    while (stream_.Read(&message)) {
      CIRRUS_TRY(check_(message));
      if (!message.data().empty()) return std::move(*message.mutable_data());
    }
    return std::string();
  }
  Status write(std::string_view bytes) override {
    if (bytes.empty()) return {};
    Message message;
    message.set_data(bytes.data(), bytes.size());
    if (!stream_.Write(message)) return error(Code::Cancelled, "{}", closed_);
    return {};
  }
  void finish_writing() override {}  // the call's end says it
  void cancel() override { context_.TryCancel(); }

 private:
  grpc::ServerContext& context_;
  Stream& stream_;
  const char* const closed_;
  Status (*const check_)(const Message&);
};

}  // namespace cirrus::rpc
