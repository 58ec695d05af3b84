// SPDX-License-Identifier: MIT
// A terminal host and a guest driven call by call, as those of the reference behave on the wire.
// Source: protocol §11. Tests only; brings gRPC along.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "cirrus_terminal.grpc.pb.h"

namespace cirrus::rpc::testing {

/// The waiting stream of an agent that offers a terminal.
class ScriptedHost {
 public:
  explicit ScriptedHost(std::shared_ptr<grpc::Channel> channel)
      : channel_(std::move(channel)),
        stub_(HostService::NewStub(channel_)),
        stream_(stub_->ControlChannel(&context_)) {}
  ~ScriptedHost() { context_.TryCancel(); }
  ScriptedHost(const ScriptedHost&) = delete;
  ScriptedHost& operator=(const ScriptedHost&) = delete;

  void say_hello(const std::string& secret) {
    HostControlRequest hello;
    hello.mutable_hello()->set_trusted_secret(secret);
    (void)stream_->Write(hello);
  }
  /// Empty if the server ended the stream; see `end`.
  std::string locator() {
    HostControlResponse response;
    return stream_->Read(&response) ? response.hello().locator() : "";
  }
  /// The next order; its token is empty if the stream has ended.
  HostControlResponse::DataChannelRequest order() {
    HostControlResponse response;
    if (!stream_->Read(&response)) return {};
    return response.data_channel_request();
  }
  void say(const HostControlRequest& message) { (void)stream_->Write(message); }
  void half_close() { (void)stream_->WritesDone(); }
  /// How the server ended it, at once or in its own time.
  grpc::Status end() {
    HostControlResponse ignored;
    while (stream_->Read(&ignored)) {
    }
    return stream_->Finish();
  }
  void hang_up() { context_.TryCancel(); }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<HostService::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<HostControlRequest, HostControlResponse>> stream_;
};

/// One call that carries a shell's bytes, from either side of it.
template <typename Stub, typename Out, typename In>
class ScriptedBytes {
 public:
  using Stream = std::unique_ptr<grpc::ClientReaderWriter<Out, In>>;
  ScriptedBytes(std::unique_ptr<Stub> stub, Stream (Stub::*open)(grpc::ClientContext*))
      : stub_(std::move(stub)), stream_(((*stub_).*open)(&context_)) {}
  ~ScriptedBytes() { context_.TryCancel(); }
  ScriptedBytes(const ScriptedBytes&) = delete;
  ScriptedBytes& operator=(const ScriptedBytes&) = delete;

  bool say(const Out& message) { return stream_->Write(message); }
  bool hear(In& message) { return stream_->Read(&message); }
  void half_close() { (void)stream_->WritesDone(); }
  void hang_up() { context_.TryCancel(); }
  grpc::Status end() {
    In ignored;
    while (stream_->Read(&ignored)) {
    }
    return stream_->Finish();
  }

 private:
  const std::unique_ptr<Stub> stub_;
  grpc::ClientContext context_;
  const Stream stream_;
};

/// A host's side of one shell.
class ScriptedShell final
    : public ScriptedBytes<HostService::Stub, HostDataRequest, HostDataResponse> {
 public:
  explicit ScriptedShell(const std::shared_ptr<grpc::Channel>& channel)
      : ScriptedBytes(HostService::NewStub(channel), &HostService::Stub::DataChannel) {}
  void say_hello(const std::string& locator, const std::string& token) {
    HostDataRequest hello;
    hello.mutable_hello()->set_locator(locator);
    hello.mutable_hello()->set_token(token);
    say(hello);
  }
  bool print(const std::string& bytes) {
    HostDataRequest output;
    output.mutable_output()->set_data(bytes);
    return say(output);
  }
};

class ScriptedGuest final
    : public ScriptedBytes<GuestService::Stub, GuestTerminalRequest, GuestTerminalResponse> {
 public:
  explicit ScriptedGuest(const std::shared_ptr<grpc::Channel>& channel)
      : ScriptedBytes(GuestService::NewStub(channel), &GuestService::Stub::TerminalChannel) {}
  void say_hello(const std::string& locator, const std::string& secret, std::uint32_t columns = 0,
                 std::uint32_t rows = 0) {
    GuestTerminalRequest hello;
    hello.mutable_hello()->set_locator(locator);
    hello.mutable_hello()->set_secret(secret);
    hello.mutable_hello()->mutable_requested_dimensions()->set_width_columns(columns);
    hello.mutable_hello()->mutable_requested_dimensions()->set_height_rows(rows);
    say(hello);
  }
  bool type(const std::string& bytes) {
    GuestTerminalRequest input;
    input.mutable_input()->set_data(bytes);
    return say(input);
  }
};

}  // namespace cirrus::rpc::testing
