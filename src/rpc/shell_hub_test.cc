// SPDX-License-Identifier: MIT
#include "rpc/shell_hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rpc/shell_frames.h"
#include "rpc/testing/pipe_channel.h"

namespace cirrus::rpc {
namespace {

using ::testing::ElementsAre;

TEST(ShellFrames, SurviveAnyCut) {
  const std::string all = input_frame("ls\n") + size_frame({120, 50}) + input_frame("") +
                          input_frame(std::string(300, 'x'));
  for (std::size_t piece = 1; piece <= all.size(); piece += 7) {
    FrameReader reader;
    std::string typed;
    std::vector<std::uint32_t> sizes;
    for (std::size_t at = 0; at < all.size(); at += piece) {
      ASSERT_TRUE(reader
                      .feed(
                          std::string_view(all).substr(at, piece),
                          [&](std::string_view bytes) { typed += bytes; },
                          [&](TerminalSize size) {
                            sizes.push_back(size.columns);
                            sizes.push_back(size.rows);
                          })
                      .ok());
    }
    EXPECT_EQ(typed, "ls\n" + std::string(300, 'x'));
    EXPECT_THAT(sizes, ElementsAre(120, 50));
  }
}

TEST(ShellFrames, RefuseWhatIsNone) {
  for (const std::string& bad : {std::string("\x02\0\0\0\0", 5), std::string("\0\x7f\0\0\0", 5),
                                 std::string("\x01\0\0\0\x05", 5)}) {
    FrameReader reader;
    EXPECT_EQ(reader
                  .feed(
                      bad, [](auto) {}, [](auto) {})
                  .error()
                  .code(),
              Code::InvalidArgument);
  }
}

TEST(ShellHub, JoinsWhoOrdersAndWhoCarries) {
  ShellHub hub;
  ShellOrder order;
  order.set_columns(100);
  EXPECT_EQ(hub.open("t", order).error().code(), Code::NotFound);
  std::vector<ShellOrder> orders;
  const auto number = hub.add_listener("t", [&](const ShellOrder& one) { orders.push_back(one); });
  const auto near = hub.open("t", order);
  ASSERT_TRUE(near.ok());
  ASSERT_EQ(orders.size(), 1U);
  EXPECT_EQ(orders[0].columns(), 100U);
  EXPECT_GE(orders[0].session().size(), 32U);
  ASSERT_TRUE(near.value()->write("typed before anybody came").ok());
  testing::PipePair pipes = testing::make_pipe_pair();
  Thread carrying([&] { EXPECT_TRUE(hub.carry(orders[0].session(), *pipes.server).ok()); });
  EXPECT_EQ(pipes.client->read().value(), "typed before anybody came");
  ASSERT_TRUE(pipes.client->write("printed").ok());
  EXPECT_EQ(near.value()->read().value(), "printed");
  ASSERT_TRUE(pipes.client->write("last words").ok());
  pipes.client->finish_writing();
  EXPECT_EQ(near.value()->read().value(), "last words");
  EXPECT_EQ(near.value()->read().value(), "");
  carrying.join();
  // A session is good once.
  EXPECT_EQ(hub.carry(orders[0].session(), *pipes.server).error().code(), Code::NotFound);
  hub.remove_listener("t", number);
  EXPECT_EQ(hub.open("t", order).error().code(), Code::NotFound);
}

TEST(ShellHub, ATapHearsWhatTheShellShowsBeforeThePersonDoes) {
  ShellHub hub;
  std::string session;
  hub.add_listener("t", [&](const ShellOrder& one) { session = one.session(); });
  Guarded<std::string> kept;
  ShellTap tap;
  tap.notice = "you are heard\r\n";
  tap.on_output = [&kept](std::string_view bytes) {
    kept.with([&](std::string& all) { all += bytes; });
    return Status();
  };
  const auto near = hub.open("t", {}, std::move(tap));
  ASSERT_TRUE(near.ok());
  ASSERT_TRUE(near.value()->write("secret").ok());
  testing::PipePair pipes = testing::make_pipe_pair();
  Thread carrying([&] { (void)hub.carry(session, *pipes.server); });
  EXPECT_EQ(pipes.client->read().value(), "secret");
  EXPECT_EQ(near.value()->read().value(), "you are heard\r\n");
  ASSERT_TRUE(pipes.client->write("shown\x80\xff").ok());
  EXPECT_EQ(near.value()->read().value(), "shown\x80\xff");
  EXPECT_EQ(kept.with([](const std::string& all) { return all; }), "shown\x80\xff");
  // Also what nobody reads any more.
  ASSERT_TRUE(pipes.client->write(" and more").ok());
  pipes.client->finish_writing();
  carrying.join();
  EXPECT_EQ(kept.with([](const std::string& all) { return all; }), "shown\x80\xff and more");
}

TEST(ShellHub, ATapThatCannotTakeMoreEndsTheShellWithItsReason) {
  ShellHub hub;
  std::string session;
  hub.add_listener("t", [&](const ShellOrder& one) { session = one.session(); });
  ShellTap tap;
  tap.on_output = [](std::string_view) -> Status { return error(Code::Internal, "disk full"); };
  const auto near = hub.open("t", {}, std::move(tap));
  ASSERT_TRUE(near.ok());
  testing::PipePair pipes = testing::make_pipe_pair();
  Thread carrying([&] { (void)hub.carry(session, *pipes.server); });
  ASSERT_TRUE(pipes.client->write("never shown").ok());
  EXPECT_EQ(near.value()->read().value(), "\r\ndisk full\r\n");
  EXPECT_EQ(near.value()->read().value(), "");
  EXPECT_FALSE(near.value()->write("typed").ok());
  carrying.join();
  EXPECT_FALSE(pipes.client->read().ok()) << "the far end is told";
}

TEST(ShellHub, HangsUpWhenThePersonGoes) {
  ShellHub hub;
  std::string session;
  hub.add_listener("t", [&](const ShellOrder& one) { session = one.session(); });
  Result<std::shared_ptr<ByteChannel>> near = hub.open("t", {});
  ASSERT_TRUE(near.ok());
  testing::PipePair pipes = testing::make_pipe_pair();
  Thread carrying([&] { (void)hub.carry(session, *pipes.server); });
  near.value().reset();
  EXPECT_FALSE(pipes.client->read().ok());
  carrying.join();
}

TEST(ShellHub, SaysThatNobodyCameForAnOrder) {
  ShellHub hub(std::chrono::milliseconds(20));
  std::string session;
  hub.add_listener("t", [&](const ShellOrder& one) { session = one.session(); });
  const auto near = hub.open("t", {});
  ASSERT_TRUE(near.ok());
  EXPECT_EQ(near.value()->read().error().code(), Code::DeadlineExceeded);
  testing::PipePair pipes = testing::make_pipe_pair();
  Thread late([&] { (void)hub.carry(session, *pipes.server); });
  EXPECT_FALSE(pipes.client->read().ok()) << "whoever comes too late is sent away";
}

TEST(ShellHub, TheNewestListenerCountsAndThereIsALimit) {
  ShellHub hub;
  int first = 0;
  int second = 0;
  const auto old = hub.add_listener("t", [&](const ShellOrder&) { ++first; });
  hub.add_listener("t", [&](const ShellOrder&) { ++second; });
  hub.remove_listener("t", old);  // the old one's end is not the new one's
  std::vector<std::shared_ptr<ByteChannel>> open;
  for (std::size_t i = 0; i < ShellHub::kMostShells; ++i) {
    auto one = hub.open("t", {});
    ASSERT_TRUE(one.ok());
    open.push_back(std::move(one).value());
  }
  EXPECT_EQ(first, 0);
  EXPECT_EQ(second, static_cast<int>(ShellHub::kMostShells));
  EXPECT_EQ(hub.open("t", {}).error().code(), Code::ResourceExhausted);
  hub.close();
  EXPECT_FALSE(open[0]->read().ok());
  EXPECT_EQ(hub.open("t", {}).error().code(), Code::NotFound);
}

}  // namespace
}  // namespace cirrus::rpc
