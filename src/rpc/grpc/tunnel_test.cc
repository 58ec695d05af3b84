// SPDX-License-Identifier: MIT
// Tunnels between an agent's client and a gateway's server, over real sockets.
#include <atomic>
#include <chrono>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "os/temp_dir.h"
#include "os/unix_socket.h"
#include "os/waker.h"
#include "rpc/grpc/gateway_channel.h"
#include "rpc/grpc/gateway_client.h"
#include "rpc/grpc/gateway_server.h"
#include "rpc/grpc/tunnel_client.h"

namespace cirrus::rpc {
namespace {

using ::testing::HasSubstr;

/// Answers tunnels by their destination.
class Destinations final : public GatewayService {
 public:
  Result<std::shared_ptr<AgentSession>> attach(const gw::AgentMessage::Hello&,
                                               std::shared_ptr<AgentConnection>) override {
    return error(Code::Unimplemented, "no streams here");
  }
  Result<BlobLease> lend_blobs(const gw::BlobCaller&) override {
    return error(Code::Unimplemented, "no blobs here");
  }
  Result<gw::VaultReply> call_vault(const gw::VaultRequest&) override {
    return error(Code::Unimplemented, "no Vault here");
  }
  ShellHub& shells() override { return shells_; }
  Status admit_listener(const std::string&, const std::string&) override {
    return error(Code::Unimplemented, "no shells here");
  }
  Status serve_tunnel(const gw::TunnelMessage::Open& open, ByteChannel& agent) override {
    if (open.task_id() != "7" || open.agent_secret() != "half") {
      return error(Code::Unauthenticated, "wrong secret");
    }
    if (open.destination() == "refused") return error(Code::NotFound, "nothing is there");
    // Everything back, until the agent has said everything.
    for (;;) {
      const std::string bytes = CIRRUS_TRY(agent.read());
      if (bytes.empty()) return {};
      CIRRUS_TRY(agent.write(bytes));
    }
  }

 private:
  ShellHub shells_;
};

class Tunnels : public ::testing::Test {
 protected:
  void SetUp() override {
    listener_ = std::move(os::listen_unix(directory_.path() / "s", 0600)).value();
    server_ = std::move(GatewayServer::start(service_)).value();
    acceptor_ = Thread([this](const StopToken& stop) {
      while (os::wait_readable(listener_.get(), stop, std::nullopt).value_or(false)) {
        Result<os::Fd> connection = os::accept_connection(listener_.get());
        ++connections_;
        wait_for(stop, delay_.load());
        if (connection.ok()) server_->adopt(std::move(connection).value());
      }
    });
  }
  std::shared_ptr<grpc::Channel> channel() {
    return make_gateway_channel((directory_.path() / "s").string());
  }
  std::unique_ptr<TunnelLink> link(const std::string& secret = "half") {
    return make_tunnel_client(channel(), "7", Secret(secret));
  }
  static std::unique_ptr<ByteChannel> open(TunnelLink& link, const std::string& destination) {
    gw::TunnelMessage::Open message;
    message.set_destination(destination);
    return std::move(link.open(std::move(message))).value();
  }

  /// A call of the stream's kind, which this service refuses.
  static void attach_in_vain(GatewayLink& gateway) {
    const std::unique_ptr<GatewayStream> stream = std::move(gateway.connect()).value();
    gw::AgentMessage message;
    message.mutable_hello()->set_task_id("7");
    (void)stream->write(message);
    gw::GatewayMessage answer;
    EXPECT_FALSE(stream->read(answer));
  }

  os::TempDir directory_ = std::move(os::TempDir::create("tunnel")).value();
  Destinations service_;
  os::Fd listener_;
  std::unique_ptr<GatewayServer> server_;
  std::atomic<int> connections_{0};
  std::atomic<std::chrono::milliseconds> delay_{std::chrono::milliseconds(0)};
  Thread acceptor_;
};

TEST_F(Tunnels, CarryBytesBothWaysToTheLast) {
  const std::unique_ptr<TunnelLink> tunnels = link();
  const std::unique_ptr<ByteChannel> tunnel = open(*tunnels, "echo");
  const std::string sent(3'000'000, 'x');
  Thread writer([&] {
    EXPECT_TRUE(tunnel->write(sent).ok());
    tunnel->finish_writing();
  });
  std::string received;
  for (;;) {
    const Result<std::string> bytes = tunnel->read();
    ASSERT_TRUE(bytes.ok()) << bytes.error().to_string();
    if (bytes.value().empty()) break;
    received += bytes.value();
  }
  EXPECT_TRUE(received == sent);
  EXPECT_EQ(tunnel->read().value(), "");
}

TEST_F(Tunnels, SayWhyTheyAreRefused) {
  const std::unique_ptr<TunnelLink> tunnels = link();
  EXPECT_THAT(open(*tunnels, "refused")->read().error().message(), HasSubstr("nothing is there"));
  const std::unique_ptr<TunnelLink> strangers = link("other");
  EXPECT_EQ(open(*strangers, "echo")->read().error().code(), Code::Unauthenticated);
}

TEST_F(Tunnels, EndWhenTheyAreCancelledOrForgotten) {
  const std::unique_ptr<TunnelLink> tunnels = link();
  const std::unique_ptr<ByteChannel> tunnel = open(*tunnels, "echo");
  ASSERT_TRUE(tunnel->write("a").ok());
  EXPECT_EQ(tunnel->read().value(), "a");
  Thread breaker([&] { tunnel->cancel(); });
  EXPECT_FALSE(tunnel->read().ok());
  const std::unique_ptr<ByteChannel> forgotten = open(*tunnels, "echo");
  EXPECT_TRUE(forgotten->write("b").ok());
}

TEST_F(Tunnels, ASlowWayIsNotGivenUp) {
  // A guest that is emulated, or the other side of the world.
  delay_ = std::chrono::milliseconds(700);
  const std::unique_ptr<TunnelLink> tunnels = link();
  const std::unique_ptr<ByteChannel> tunnel = open(*tunnels, "echo");
  ASSERT_TRUE(tunnel->write("a").ok());
  EXPECT_EQ(tunnel->read().value(), "a");
  EXPECT_EQ(connections_, 1) << "each attempt ends the one before where a bridge has room for one";
}

TEST_F(Tunnels, AWorkerThatIsAwayIsWaitedFor) {
  const std::filesystem::path away = directory_.path() / "away";
  std::filesystem::rename(directory_.path() / "s", away);
  const std::unique_ptr<TunnelLink> tunnels = link();
  std::unique_ptr<ByteChannel> tunnel;
  std::atomic<bool> opened = false;
  Thread opener([&] {
    tunnel = open(*tunnels, "echo");
    opened = true;
  });
  wait_for(StopToken(), std::chrono::milliseconds(100));
  EXPECT_FALSE(opened);
  std::filesystem::rename(away, directory_.path() / "s");
  opener.join();
  ASSERT_TRUE(tunnel->write("a").ok());
  EXPECT_EQ(tunnel->read().value(), "a");
}

// In a VM there is room for one: each connection would end the one before.
TEST_F(Tunnels, ShareAConnectionWithTheStreamWhoeverIsFirst) {
  const std::shared_ptr<grpc::Channel> shared = channel();
  const std::unique_ptr<TunnelLink> tunnels = make_tunnel_client(shared, "7", Secret("half"));
  const std::unique_ptr<GatewayLink> gateway = make_gateway_client(shared);
  const std::unique_ptr<ByteChannel> tunnel = open(*tunnels, "echo");
  ASSERT_TRUE(tunnel->write("a").ok());
  EXPECT_EQ(tunnel->read().value(), "a");
  for (int i = 0; i < 3; ++i) {
    attach_in_vain(*gateway);
  }
  ASSERT_TRUE(tunnel->write("b").ok());
  EXPECT_EQ(tunnel->read().value(), "b");
  EXPECT_EQ(connections_, 1);
}

TEST_F(Tunnels, ThatWaitForAWorkerComeBackOnTheStreamsConnection) {
  const std::shared_ptr<grpc::Channel> shared = channel();
  const std::unique_ptr<TunnelLink> tunnels = make_tunnel_client(shared, "7", Secret("half"));
  const std::unique_ptr<GatewayLink> gateway = make_gateway_client(shared);
  const std::filesystem::path away = directory_.path() / "away";
  std::filesystem::rename(directory_.path() / "s", away);
  std::string echoed;
  Thread waiting([&] {
    const std::unique_ptr<ByteChannel> tunnel = open(*tunnels, "echo");
    (void)tunnel->write("a");
    echoed = tunnel->read().value_or("");
  });
  Thread streaming([&] {
    for (int i = 0; i < 3; ++i) {
      attach_in_vain(*gateway);
    }
  });
  wait_for(StopToken(), std::chrono::milliseconds(100));
  std::filesystem::rename(away, directory_.path() / "s");
  waiting.join();
  streaming.join();
  EXPECT_EQ(echoed, "a");
  EXPECT_EQ(connections_, 1);
}

}  // namespace
}  // namespace cirrus::rpc
