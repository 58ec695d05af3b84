// SPDX-License-Identifier: MIT
// The terminal server of the reference's protocol, over a real server.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "rpc/grpc/terminal_server.h"
#include "rpc/grpc/testing/scripted_host.h"
#include "rpc/shell_frames.h"

namespace cirrus::rpc {
namespace {

using grpc::StatusCode;
using testing::ScriptedGuest;
using testing::ScriptedHost;
using testing::ScriptedShell;

class GrpcTerminals : public ::testing::Test {
 protected:
  void SetUp() override { serve({}); }
  void TearDown() override { end(); }

  void serve(TerminalTiming timing) {
    end();
    service_ = std::make_unique<TerminalServer>(hosts_, newcomers_, timing);
    guests_ = std::make_unique<TerminalGuests>(
        hosts_, newcomers_,
        [this](const std::string& task, const std::string&) -> Result<ShellTap> {
          asked_.push_back(task);
          CIRRUS_TRY(refusal_);
          return tap_;
        },
        timing);
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    builder.RegisterService(guests_.get());
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    target_ = "127.0.0.1:" + std::to_string(port);
  }
  void end() {
    if (!server_) return;
    server_->Shutdown(system_clock().wall());
    server_->Wait();
    server_.reset();
  }
  std::shared_ptr<grpc::Channel> channel() const {
    return grpc::CreateChannel(target_, grpc::InsecureChannelCredentials());
  }
  /// A host that a task has claimed.
  std::string attach(ScriptedHost& host, const std::string& task = "7") {
    host.say_hello("s3cret");
    const std::string locator = host.locator();
    EXPECT_TRUE(hosts_.claim(locator, "s3cret", task, [this] { return alive_.load(); }).ok());
    return locator;
  }
  static bool eventually(const std::function<bool()>& holds) {
    const Monotonic deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!holds()) {
      if (std::chrono::steady_clock::now() >= deadline) return false;
      (void)wait_for({}, std::chrono::milliseconds(5));
    }
    return true;
  }
  /// What a person sees until the end.
  static std::string all_of(ByteChannel& near) {
    std::string printed;
    for (;;) {
      const Result<std::string> bytes = near.read();
      if (!bytes.ok() || bytes.value().empty()) return printed;
      printed += bytes.value();
    }
  }

  ShellHub hub_;
  Newcomers newcomers_;
  TerminalHosts hosts_{hub_, ""};
  std::atomic<bool> alive_ = true;
  Status refusal_;
  ShellTap tap_;
  std::vector<std::string> asked_;
  std::unique_ptr<TerminalServer> service_;
  std::unique_ptr<TerminalGuests> guests_;
  std::unique_ptr<grpc::Server> server_;
  std::string target_;
};

TEST_F(GrpcTerminals, CarryAShellFromItsOrderToItsEnd) {
  ScriptedHost host(channel());
  const std::string locator = attach(host);
  ShellOrder wish;
  wish.set_columns(100);
  wish.set_rows(30);
  const auto near = hosts_.open("7", wish);
  ASSERT_TRUE(near.ok()) << near.error().to_string();
  ASSERT_TRUE(near.value()->write(input_frame("ls") + size_frame({120, 50})).ok());
  const HostControlResponse::DataChannelRequest order = host.order();
  EXPECT_EQ(order.requested_dimensions().width_columns(), 100U);
  EXPECT_EQ(order.requested_dimensions().height_rows(), 30U);
  ScriptedShell shell(channel());
  shell.say_hello(locator, order.token());
  HostDataResponse heard;
  ASSERT_TRUE(shell.hear(heard));
  EXPECT_EQ(heard.input().data(), "ls");
  ASSERT_TRUE(shell.hear(heard));
  EXPECT_EQ(heard.change_dimensions().width_columns(), 120U);
  EXPECT_EQ(heard.change_dimensions().height_rows(), 50U);
  ASSERT_TRUE(shell.print("a b"));
  ASSERT_TRUE(shell.print(""));
  ASSERT_TRUE(shell.print(" c"));
  shell.half_close();
  EXPECT_EQ(all_of(*near.value()), "a b c");
  shell.end();
  ScriptedShell again(channel());
  again.say_hello(locator, order.token());
  EXPECT_EQ(again.end().error_code(), StatusCode::NOT_FOUND) << "a token is good once";
}

TEST_F(GrpcTerminals, AHostHearsThatThePersonHasLeft) {
  ScriptedHost host(channel());
  const std::string locator = attach(host);
  const auto near = hosts_.open("7", {});
  ASSERT_TRUE(near.ok());
  ScriptedShell shell(channel());
  shell.say_hello(locator, host.order().token());
  ASSERT_TRUE(shell.print("$ "));
  EXPECT_EQ(near.value()->read().value(), "$ ");
  near.value()->cancel();
  EXPECT_EQ(shell.end().error_code(), StatusCode::CANCELLED);
}

TEST_F(GrpcTerminals, WhatAHostSaysMustBeWhatItIsToSay) {
  const struct {
    const char* name;
    std::function<void(ScriptedHost&)> speak;
    StatusCode code;
  } cases[] = {
      {"no hello", [](ScriptedHost& h) { h.say({}); }, StatusCode::FAILED_PRECONDITION},
      {"no secret", [](ScriptedHost& h) { h.say_hello(""); }, StatusCode::INVALID_ARGUMENT},
      {"a huge secret", [](ScriptedHost& h) { h.say_hello(std::string(1 << 20, 'x')); },
       StatusCode::INVALID_ARGUMENT},
      {"two hellos",
       [](ScriptedHost& h) {
         h.say_hello("a");
         h.say_hello("a");
       },
       StatusCode::FAILED_PRECONDITION},
      {"nothing", [](ScriptedHost& h) { h.half_close(); }, StatusCode::OK},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    ScriptedHost host(channel());
    c.speak(host);
    EXPECT_EQ(host.end().error_code(), c.code);
  }
}

TEST_F(GrpcTerminals, WhatAShellSaysMustBeWhatItIsToSay) {
  ScriptedHost host(channel());
  const std::string locator = attach(host);
  const auto refused = [&](const std::function<void(ScriptedShell&)>& speak) {
    ScriptedShell shell(channel());
    speak(shell);
    return shell.end().error_code();
  };
  EXPECT_EQ(refused([](ScriptedShell& s) { s.print("x"); }), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(refused([&](ScriptedShell& s) { s.say_hello(locator, "guess"); }),
            StatusCode::NOT_FOUND);
  EXPECT_EQ(refused([&](ScriptedShell& s) { s.say_hello(locator, ""); }), StatusCode::NOT_FOUND);
  // Another one's token is none, and stays good for whom it was made.
  ScriptedHost other(channel());
  const std::string elsewhere = attach(other, "8");
  const auto near = hosts_.open("7", {});
  ASSERT_TRUE(near.ok());
  const std::string token = host.order().token();
  EXPECT_EQ(refused([&](ScriptedShell& s) { s.say_hello(elsewhere, token); }),
            StatusCode::NOT_FOUND);
  ScriptedShell shell(channel());
  shell.say_hello(locator, token);
  ASSERT_TRUE(shell.print("ok"));
  EXPECT_EQ(near.value()->read().value(), "ok");
  shell.say_hello(locator, token);
  shell.end();
  EXPECT_FALSE(near.value()->read().ok() && !near.value()->read().value_or("").empty());
}

TEST_F(GrpcTerminals, AShellThatPrintsTooMuchAtOnceIsClosed) {
  ScriptedHost host(channel());
  const std::string locator = attach(host);
  const auto near = hosts_.open("7", {});
  ASSERT_TRUE(near.ok());
  ScriptedShell shell(channel());
  shell.say_hello(locator, host.order().token());
  (void)shell.print(std::string(FrameReader::kLargest + 1, 'x'));
  EXPECT_FALSE(shell.end().ok());
  EXPECT_EQ(all_of(*near.value()), "");
}

TEST_F(GrpcTerminals, WhoeverSaysNothingIsSentAway) {
  TerminalTiming hasty;
  hasty.hello = std::chrono::milliseconds(50);
  hasty.claim = std::chrono::milliseconds(50);
  serve(hasty);
  ScriptedHost silent(channel());
  EXPECT_EQ(silent.end().error_code(), StatusCode::DEADLINE_EXCEEDED);
  ScriptedHost unclaimed(channel());
  unclaimed.say_hello("s3cret");
  EXPECT_NE(unclaimed.locator(), "");
  EXPECT_EQ(unclaimed.end().error_code(), StatusCode::DEADLINE_EXCEEDED);
  ScriptedShell shell(channel());
  EXPECT_EQ(shell.end().error_code(), StatusCode::CANCELLED);
  ScriptedGuest guest(channel());
  EXPECT_EQ(guest.end().error_code(), StatusCode::CANCELLED);
}

TEST_F(GrpcTerminals, AHostGoesWithItsTaskAndWithItsConnection) {
  TerminalTiming hasty;
  hasty.claim = std::chrono::milliseconds(50);
  hasty.look = std::chrono::milliseconds(20);
  serve(hasty);
  {
    ScriptedHost host(channel());
    attach(host);
    alive_ = false;
    EXPECT_EQ(host.end().error_code(), StatusCode::NOT_FOUND);
    alive_ = true;
  }
  {
    ScriptedHost host(channel());
    attach(host);
    EXPECT_TRUE(hosts_.open("7", {}).ok());
    host.hang_up();
  }
  EXPECT_TRUE(eventually([&] { return !hosts_.open("7", {}).ok(); }));
  ScriptedHost old(channel());
  attach(old);
  ScriptedHost fresh(channel());
  attach(fresh);
  EXPECT_EQ(old.end().error_code(), StatusCode::NOT_FOUND) << "the task has another";
  EXPECT_TRUE(hosts_.open("7", {}).ok());
}

TEST_F(GrpcTerminals, AFloodOfNewcomersIsTurnedAwayAndTheRestStays) {
  ScriptedHost host(channel());
  attach(host);
  std::vector<std::unique_ptr<ScriptedHost>> flood;
  for (std::size_t i = 0; i < Newcomers::kMostOfOne; ++i) {
    flood.push_back(std::make_unique<ScriptedHost>(channel()));
    flood.back()->say_hello("x");
    EXPECT_NE(flood.back()->locator(), "");
  }
  ScriptedHost one_more(channel());
  EXPECT_EQ(one_more.end().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  ScriptedShell shell(channel());
  EXPECT_EQ(shell.end().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(hosts_.open("7", {}).ok());
  EXPECT_NE(host.order().token(), "");
  flood.clear();
  EXPECT_TRUE(eventually([&] {
    ScriptedHost later(channel());
    later.say_hello("x");
    return !later.locator().empty();
  }));
}

TEST_F(GrpcTerminals, AGuestWhoKnowsTheSecretOpensAShell) {
  ScriptedHost host(channel());
  const std::string locator = attach(host);
  ScriptedGuest guest(channel());
  guest.say_hello(locator, "s3cret", 90, 20);
  const auto order = host.order();
  EXPECT_THAT(asked_, ::testing::ElementsAre("7"));
  EXPECT_EQ(order.requested_dimensions().width_columns(), 90U);
  ScriptedShell shell(channel());
  shell.say_hello(locator, order.token());
  ASSERT_TRUE(guest.type("ls"));
  GuestTerminalRequest resize;
  resize.mutable_change_dimensions()->set_width_columns(60);
  resize.mutable_change_dimensions()->set_height_rows(10);
  ASSERT_TRUE(guest.say(resize));
  HostDataResponse heard;
  ASSERT_TRUE(shell.hear(heard));
  EXPECT_EQ(heard.input().data(), "ls");
  ASSERT_TRUE(shell.hear(heard));
  EXPECT_EQ(heard.change_dimensions().width_columns(), 60U);
  ASSERT_TRUE(shell.print("last words"));
  shell.half_close();
  std::string printed;
  GuestTerminalResponse seen;
  while (guest.hear(seen)) printed += seen.output().data();
  EXPECT_EQ(printed, "last words");
  guest.end();
}

TEST_F(GrpcTerminals, AGuestIsToldOfTheTapThatHearsTheShell) {
  Guarded<std::string> kept;
  tap_.notice = "kept\r\n";
  tap_.on_output = [&kept](std::string_view bytes) -> Status {
    return kept.with([&](std::string& all) -> Status {
      if (bytes == "too much") return error(Code::ResourceExhausted, "the tap is full");
      all += bytes;
      return {};
    });
  };
  ScriptedHost host(channel());
  const std::string locator = attach(host);
  ScriptedGuest guest(channel());
  guest.say_hello(locator, "s3cret");
  ScriptedShell shell(channel());
  shell.say_hello(locator, host.order().token());
  ASSERT_TRUE(shell.print("$ "));
  std::string printed;
  GuestTerminalResponse seen;
  while (printed.size() < 8 && guest.hear(seen)) printed += seen.output().data();
  EXPECT_EQ(printed, "kept\r\n$ ");
  EXPECT_EQ(kept.with([](const std::string& all) { return all; }), "$ ");
  ASSERT_TRUE(shell.print("too much"));
  while (guest.hear(seen)) printed += seen.output().data();
  EXPECT_EQ(printed, "kept\r\n$ \r\nthe tap is full\r\n");
  guest.end();
  EXPECT_FALSE(shell.end().ok());
}

TEST_F(GrpcTerminals, AGuestWhoLeavesTakesTheShellAlong) {
  ScriptedHost host(channel());
  const std::string locator = attach(host);
  ScriptedGuest guest(channel());
  guest.say_hello(locator, "s3cret");
  ScriptedShell shell(channel());
  shell.say_hello(locator, host.order().token());
  ASSERT_TRUE(shell.print("$ "));
  GuestTerminalResponse seen;
  ASSERT_TRUE(guest.hear(seen));
  guest.half_close();
  EXPECT_EQ(shell.end().error_code(), StatusCode::CANCELLED);
}

TEST_F(GrpcTerminals, AGuestWhoDoesNotKnowItDoesNot) {
  ScriptedHost host(channel());
  const std::string locator = attach(host);
  const auto refused = [&](const std::function<void(ScriptedGuest&)>& speak) {
    ScriptedGuest guest(channel());
    speak(guest);
    return guest.end().error_code();
  };
  EXPECT_EQ(refused([&](ScriptedGuest& g) { g.say_hello(locator, "guess"); }),
            StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(refused([&](ScriptedGuest& g) { g.say_hello("nowhere", "s3cret"); }),
            StatusCode::NOT_FOUND);
  EXPECT_EQ(refused([&](ScriptedGuest& g) { g.type("ls"); }), StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(asked_.empty());
  refusal_ = error(Code::FailedPrecondition, "task 7 is not being executed");
  EXPECT_EQ(refused([&](ScriptedGuest& g) { g.say_hello(locator, "s3cret"); }),
            StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace cirrus::rpc
