// SPDX-License-Identifier: MIT
// Listening for shells and carrying them, over a real server.
#include <atomic>

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "rpc/grpc/shell_client.h"
#include "rpc/grpc/shell_server.h"

namespace cirrus::rpc {
namespace {

class GrpcShells : public ::testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    target_ = "127.0.0.1:" + std::to_string(port);
  }
  void TearDown() override {
    hub_.close();
    server_->Shutdown(system_clock().wall() + std::chrono::milliseconds(100));
    server_->Wait();
  }
  std::unique_ptr<ShellLink> link(const std::string& name) {
    const auto channel = grpc::CreateChannel(target_, grpc::InsecureChannelCredentials());
    return make_shell_client([channel] { return channel; },
                             [name] {
                               return CallMetadata{{"name", name}};
                             });
  }
  /// As soon as somebody listens.
  Result<std::shared_ptr<ByteChannel>> open(const std::string& target) {
    const Monotonic deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (;;) {
      auto opened = hub_.open(target, {});
      if (opened.ok() || std::chrono::steady_clock::now() > deadline) return opened;
      (void)wait_for({}, std::chrono::milliseconds(5));
    }
  }

  ShellHub hub_;
  ShellServer service_{hub_, [](const ShellServer::Metadata& metadata, const auto& answer) {
                         const auto found = metadata.find("name");
                         if (found == metadata.end() || found->second == "stranger") {
                           return answer(error(Code::Unauthenticated, "who are you?"));
                         }
                         answer(found->second);
                       }};
  std::unique_ptr<grpc::Server> server_;
  std::string target_;
};

TEST_F(GrpcShells, CarryBytesFromAnOrderToItsEnd) {
  const std::unique_ptr<ShellLink> listener = link("w1");
  Thread listening([&](const StopToken& stop) {
    (void)listener->listen(stop, [&](const ShellOrder& order) {
      const auto channel = std::move(listener->carry(order.session())).value();
      const std::string typed = channel->read().value_or("nothing");
      EXPECT_TRUE(channel->write("you typed " + typed).ok());
      channel->finish_writing();
      while (channel->read().value_or("") != "") {
      }
    });
  });
  const auto near = open("w1");
  ASSERT_TRUE(near.ok()) << near.error().to_string();
  ASSERT_TRUE(near.value()->write("ls").ok());
  std::string printed;
  for (;;) {
    const Result<std::string> bytes = near.value()->read();
    if (!bytes.ok() || bytes.value().empty()) break;
    printed += bytes.value();
  }
  EXPECT_EQ(printed, "you typed ls");
}

// As a worker does: its agent's end is copied to the controller's, and each side ends on its own.
TEST_F(GrpcShells, AreJoinedToAnotherHubsAndEndOnce) {
  ShellHub agents;
  const std::uint64_t listener = agents.add_listener("7", [](const ShellOrder&) {});
  const std::unique_ptr<ShellLink> worker = link("w1");
  std::atomic<int> joined = 0;
  std::vector<Thread> carried;
  Thread listening([&](const StopToken& stop) {
    (void)worker->listen(stop, [&](const ShellOrder& order) {
      carried.emplace_back([&, order] {
        const auto person = worker->carry(order.session());
        const auto agent = agents.open("7", {});
        if (!person.ok() || !agent.ok()) return;
        join_channels(*agent.value(), *person.value(), {});
        person.value()->finish_writing();
        EXPECT_FALSE(person.value()->write("late").ok());
        ++joined;
      });
    });
  });
  for (int round = 0; round < 3; ++round) {
    const auto near = open("w1");
    ASSERT_TRUE(near.ok()) << near.error().to_string();
    ASSERT_TRUE(near.value()->write("exit").ok());
    near.value()->cancel();
  }
  const Monotonic deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (joined < 3 && std::chrono::steady_clock::now() < deadline) {
    (void)wait_for({}, std::chrono::milliseconds(5));
  }
  EXPECT_EQ(joined, 3);
  agents.close();
  agents.remove_listener("7", listener);
}

TEST_F(GrpcShells, AreForThoseWhoMayListen) {
  EXPECT_EQ(link("stranger")->listen({}, [](const ShellOrder&) {}).error().code(),
            Code::Unauthenticated);
  EXPECT_EQ(std::move(link("w1")->carry("guess")).value()->read().error().code(), Code::NotFound);
}

TEST_F(GrpcShells, AListenerThatIsGoneListensNoMore) {
  {
    const std::unique_ptr<ShellLink> listener = link("w1");
    Thread listening(
        [&](const StopToken& stop) { (void)listener->listen(stop, [](const ShellOrder&) {}); });
    ASSERT_TRUE(open("w1").ok());
  }
  const Monotonic deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (hub_.open("w1", {}).ok() && std::chrono::steady_clock::now() < deadline) {
    (void)wait_for({}, std::chrono::milliseconds(5));
  }
  EXPECT_EQ(hub_.open("w1", {}).error().code(), Code::NotFound);
}

}  // namespace
}  // namespace cirrus::rpc
