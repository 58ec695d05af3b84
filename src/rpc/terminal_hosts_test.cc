// SPDX-License-Identifier: MIT
#include "rpc/terminal_hosts.h"

#include <atomic>
#include <vector>

#include <gtest/gtest.h>

#include "rpc/testing/pipe_channel.h"

namespace cirrus::rpc {
namespace {

class Terminals : public ::testing::Test {
 protected:
  TerminalHosts::Host host(const std::string& secret = "s3cret") {
    TerminalHosts::Host host;
    host.secret = Secret(secret);
    host.place = std::move(newcomers_.enter("ipv4:10.0.0.1:1")).value();
    host.on_order = [this](const ShellOrder& order) { orders_.push_back(order); };
    host.on_replaced = [this] { ++replaced_; };
    return host;
  }
  std::string add(const std::string& secret = "s3cret") { return hosts_.add(host(secret)).value(); }
  Code claim(const std::string& locator, const std::string& secret, const std::string& task) {
    const Status claimed = hosts_.claim(locator, secret, task, [this] { return alive_.load(); });
    return claimed.ok() ? Code::Ok : claimed.error().code();
  }

  ShellHub hub_;
  Newcomers newcomers_;
  TerminalHosts hosts_{hub_, "t "};
  std::atomic<bool> alive_ = true;
  std::vector<ShellOrder> orders_;
  int replaced_ = 0;
};

TEST_F(Terminals, AreTheTasksThatClaimsThem) {
  const std::string locator = add();
  EXPECT_GE(locator.size(), 32U);
  EXPECT_EQ(hosts_.standing(locator), TerminalHosts::Standing::Unclaimed);
  EXPECT_EQ(hosts_.open("7", {}).error().code(), Code::NotFound) << "nobody's yet";
  EXPECT_EQ(hosts_.task_of(locator, "s3cret").error().code(), Code::NotFound);
  EXPECT_EQ(claim(locator, "guess", "7"), Code::Unauthenticated);
  EXPECT_EQ(claim("elsewhere", "s3cret", "7"), Code::NotFound);
  EXPECT_EQ(claim(locator, "s3cret", "7"), Code::Ok);
  EXPECT_EQ(claim(locator, "s3cret", "7"), Code::Ok) << "the answer may have been lost";
  EXPECT_EQ(claim(locator, "s3cret", "8"), Code::FailedPrecondition) << "it is taken";
  EXPECT_EQ(hosts_.standing(locator), TerminalHosts::Standing::Claimed);
  EXPECT_EQ(hosts_.task_of(locator, "s3cret").value(), "7");
  EXPECT_EQ(hosts_.task_of(locator, "guess").error().code(), Code::Unauthenticated);
  alive_ = false;
  EXPECT_EQ(hosts_.standing(locator), TerminalHosts::Standing::Over) << "the task has ended";
  hosts_.remove(locator);
  EXPECT_EQ(hosts_.open("7", {}).error().code(), Code::NotFound);
  EXPECT_EQ(hub_.open("t 7", {}).error().code(), Code::NotFound);
}

TEST_F(Terminals, CarryWhatWasOrderedFromThemAndOnce) {
  const std::string locator = add();
  const std::string other = add();
  ASSERT_EQ(claim(locator, "s3cret", "7"), Code::Ok);
  ASSERT_EQ(claim(other, "s3cret", "8"), Code::Ok);
  ShellOrder order;
  order.set_columns(120);
  const auto near = hosts_.open("7", order);
  ASSERT_TRUE(near.ok());
  ASSERT_EQ(orders_.size(), 1U);
  EXPECT_EQ(orders_[0].columns(), 120U);
  testing::PipePair pipes = testing::make_pipe_pair();
  const std::string token = orders_[0].session();
  EXPECT_EQ(hosts_.carry(other, token, *pipes.server).error().code(), Code::NotFound);
  EXPECT_EQ(hosts_.carry(locator, "guess", *pipes.server).error().code(), Code::NotFound);
  Thread carrying([&] { EXPECT_TRUE(hosts_.carry(locator, token, *pipes.server).ok()); });
  ASSERT_TRUE(near.value()->write("ls").ok());
  EXPECT_EQ(pipes.client->read().value(), "ls");
  pipes.client->finish_writing();
  EXPECT_EQ(near.value()->read().value(), "");
  carrying.join();
  EXPECT_EQ(hosts_.carry(locator, token, *pipes.server).error().code(), Code::NotFound);
}

TEST_F(Terminals, TheNewestOneOfATaskCounts) {
  const std::string old = add();
  ASSERT_EQ(claim(old, "s3cret", "7"), Code::Ok);
  const std::string fresh = add("another");
  ASSERT_EQ(claim(fresh, "another", "7"), Code::Ok);
  EXPECT_EQ(replaced_, 1);
  EXPECT_EQ(hosts_.standing(old), TerminalHosts::Standing::Over);
  EXPECT_EQ(hosts_.task_of(old, "s3cret").error().code(), Code::NotFound);
  hosts_.remove(old);  // which must not take the new one's orders away
  ASSERT_TRUE(hosts_.open("7", {}).ok());
  EXPECT_EQ(orders_.size(), 1U);
}

TEST_F(Terminals, ThatComeForNoOrderKeepAFewOnly) {
  const std::string locator = add();
  ASSERT_EQ(claim(locator, "s3cret", "7"), Code::Ok);
  std::vector<std::shared_ptr<ByteChannel>> open;
  for (std::size_t i = 0; i <= TerminalHosts::kMostTokens; ++i) {
    open.push_back(hosts_.open("7", {}).value());
  }
  testing::PipePair pipes = testing::make_pipe_pair();
  EXPECT_EQ(hosts_.carry(locator, orders_[0].session(), *pipes.server).error().code(),
            Code::NotFound);
}

TEST_F(Terminals, NeedASecret) {
  EXPECT_EQ(hosts_.add(host("")).error().code(), Code::InvalidArgument);
  EXPECT_EQ(hosts_.add(host(std::string(TerminalHosts::kLongestSecret + 1, 'x'))).error().code(),
            Code::InvalidArgument);
}

TEST_F(Terminals, HoldANewcomersPlaceUntilTheyAreClaimed) {
  std::vector<std::string> locators;
  for (std::size_t i = 0; i < Newcomers::kMostOfOne; ++i) locators.push_back(add());
  EXPECT_EQ(newcomers_.enter("ipv4:10.0.0.1:9").error().code(), Code::ResourceExhausted);
  EXPECT_TRUE(newcomers_.enter("ipv4:10.0.0.2:9").ok()) << "the others are not to blame";
  ASSERT_EQ(claim(locators[0], "s3cret", "7"), Code::Ok);
  EXPECT_TRUE(newcomers_.enter("ipv4:10.0.0.1:9").ok());
  hosts_.remove(locators[1]);
  EXPECT_TRUE(newcomers_.enter("ipv4:10.0.0.1:9").ok());
}

TEST(NewcomersTest, HaveALimitAllTogether) {
  Newcomers newcomers;
  std::vector<Newcomers::Place> places;
  for (std::size_t i = 0; i < Newcomers::kMost; ++i) {
    places.push_back(std::move(newcomers.enter(fmt::format("ipv4:10.0.0.{}:80", i))).value());
  }
  EXPECT_EQ(newcomers.enter("ipv4:10.1.0.1:80").error().code(), Code::ResourceExhausted);
  places[3].leave();
  places[3].leave();
  EXPECT_TRUE(newcomers.enter("ipv4:10.1.0.1:80").ok());
  places[4] = Newcomers::Place();
  EXPECT_TRUE(newcomers.enter("ipv4:10.1.0.1:80").ok());
}

TEST(TerminalServerName, IsWhereTheAgentFoundUs) {
  org::cirruslabs::ci::services::cirruscigrpc::CommandsResponse commands;
  commands.add_commands()->mutable_script_instruction();
  commands.add_commands()->mutable_wait_for_terminal_instruction();
  name_terminal_server(commands, "http://10.0.0.1:7470");
  EXPECT_TRUE(commands.commands(0).has_script_instruction());
  EXPECT_EQ(commands.commands(1).wait_for_terminal_instruction().terminal_server_address(),
            "http://10.0.0.1:7470");
}

}  // namespace
}  // namespace cirrus::rpc
