// SPDX-License-Identifier: MIT
#include "gateway/reference_agent.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "gateway/task_gateway.h"
#include "os/temp_dir.h"
#include "rpc/testing/fake_task_service.h"

namespace cirrus::gateway {
namespace {

using rpc::testing::FakeTaskService;
namespace pb = org::cirruslabs::ci::services::cirruscigrpc;

constexpr char kNotice[] =
    "\nThe connection to the guest broke while this was printed. Once more from there on:\n";

class ReferenceAgentTest : public ::testing::Test {
 protected:
  ReferenceAgentTest() : root_(os::TempDir::create("cirrus-reference-agent-test").value()) {
    options_.task_id = "7";
    options_.paths = {root_.path() / "tasks/7", root_.path() / "run"};
    options_.agent_secret = Secret("agent-half");
    options_.gateway_secret = Secret("gateway-half");
    bootstrap_.set_task_id("7");
    bootstrap_.set_agent_secret("agent-half");
    bootstrap_.set_gateway_secret("gateway-half");
    bootstrap_.mutable_commands()->add_commands()->set_name("main");
    bootstrap_.mutable_commands()->add_secrets_to_mask("hunter22");
    open();
    EXPECT_TRUE(gateway_->serve_reference_agent(bootstrap_).ok());
  }
  ~ReferenceAgentTest() override { gateway_->close(); }

  /// As a worker that starts again.
  void open() {
    if (gateway_) gateway_->close();
    gateway_ = TaskGateway::open(options_, service_).value();
  }
  rpc::ReferenceTask& agent() { return *gateway_->reference_agent("agent-half").value(); }
  void say(const std::string& bytes) { ASSERT_TRUE(agent().append_log("main", bytes).ok()); }
  void save(std::vector<std::string> pieces) {
    std::reverse(pieces.begin(), pieces.end());
    const Result<std::uint64_t> saved =
        agent().complete_log("main", [&pieces]() -> Result<std::string> {
          if (pieces.empty()) return std::string();
          std::string piece = std::move(pieces.back());
          pieces.pop_back();
          return piece;
        });
    ASSERT_TRUE(saved.ok()) << saved.error().message();
  }
  void update(pb::Status status) {
    gw::AgentMessage::Event event;
    pb::CommandResult& result = *event.mutable_updates()->add_updates();
    result.set_name("main");
    result.set_status(status);
    ASSERT_TRUE(agent().report(event).ok());
  }
  /// What the controller has once everything is there.
  std::string end() {
    gw::AgentMessage::Event event;
    event.mutable_finished();
    EXPECT_TRUE(agent().report(event).ok());
    EXPECT_TRUE(gateway_->wait(StopToken(), system_clock().now() + std::chrono::seconds(20),
                               [](const TaskProgress& progress) { return progress.forwarded; }));
    return service_.state().with([](auto& state) { return state.logs["main"]; });
  }

  os::TempDir root_;
  FakeTaskService service_;
  TaskGatewayOptions options_;
  gw::Bootstrap bootstrap_;
  std::shared_ptr<TaskGateway> gateway_;
};

TEST_F(ReferenceAgentTest, IsServedUnderTheTasksOwnSecretOnly) {
  EXPECT_EQ(gateway_->reference_agent("guess").error().code(), Code::Unauthenticated);
  EXPECT_FALSE(gateway_->progress().attached_once);
  EXPECT_EQ(agent().initial_commands().servertoken(), "gateway-half");
  EXPECT_EQ(agent().initial_commands().commands_size(), 1) << "as often as it asks";
  EXPECT_TRUE(gateway_->progress().attached_once);
}

TEST_F(ReferenceAgentTest, ItsLogAndResultsReachTheControllerInOrderAndOnce) {
  update(pb::EXECUTING);
  say("hello ");
  say("world\n");
  save({"hello ", "world\n"});
  update(pb::COMPLETED);
  EXPECT_EQ(end(), "hello world\n");
  const auto lines = service_.state().with([](auto& state) { return state.trace; });
  const auto at = [&lines](const std::string& line) {
    return std::find(lines.begin(), lines.end(), line) - lines.begin();
  };
  EXPECT_LT(at("update main EXECUTING"), at("update main COMPLETED"));
  EXPECT_LT(at("update main COMPLETED"), at("finished"));
  for (std::ptrdiff_t i = 0; i < std::ssize(lines); ++i) {
    if (lines[static_cast<std::size_t>(i)].starts_with("log ")) {
      EXPECT_LT(i, at("update main COMPLETED"));
    }
  }
}

TEST_F(ReferenceAgentTest, TheWholeLogBringsWhatTheLiveOneMissed) {
  say("one\n");
  agent().log_broke("main");
  save({"one\ntw", "o\n"});
  EXPECT_EQ(end(), "one\ntwo\n");
}

TEST_F(ReferenceAgentTest, AHoleIsSaidAndEverythingFromItOnComesAgain) {
  say("one\n");
  agent().log_broke("main");
  say("three\n");
  save({"one\ntwo\nthree\n"});
  EXPECT_EQ(end(), std::string("one\nthree\n") + kNotice + "two\nthree\n");
}

TEST_F(ReferenceAgentTest, ABreakThatLostNothingIsNotSeen) {
  say("one\n");
  agent().log_broke("main");
  say("two\n");
  save({"one\ntwo\n"});
  EXPECT_EQ(end(), "one\ntwo\n");
}

TEST_F(ReferenceAgentTest, ALogThatIsCutOffKeepsWhatCame) {
  say("one\n");
  int reads = 0;
  const Result<std::uint64_t> saved =
      agent().complete_log("main", [&reads]() -> Result<std::string> {
        if (reads++ == 0) return std::string("one\ntwo\n");
        return error(Code::Cancelled, "cut off");
      });
  EXPECT_FALSE(saved.ok());
  EXPECT_EQ(end(), "one\ntwo\n");
}

TEST_F(ReferenceAgentTest, SecretsThatABorderCutsAreHidden) {
  say("a hun");
  say("ter22 b hunt");
  save({"a hunter22 b hunt"});
  EXPECT_EQ(end(), "a HIDDEN-BY-CIRRUS-CI b hunt");
}

TEST_F(ReferenceAgentTest, WhatIsHeldBackComesBeforeTheStepsEnd) {
  say("hunt");
  update(pb::COMPLETED);
  EXPECT_EQ(end(), "hunt");
}

TEST_F(ReferenceAgentTest, AnotherWorkerGoesOnWithIt) {
  agent().initial_commands();
  say("one\n");
  open();
  EXPECT_EQ(agent().initial_commands().servertoken(), "gateway-half");
  say("three\n");
  save({"one\ntwo\nthree\n"});
  EXPECT_EQ(end(), std::string("one\nthree\n") + kNotice + "one\ntwo\nthree\n")
      << "how much had come nobody knows any more";
}

TEST_F(ReferenceAgentTest, TheWorkersOwnWordsAreNotTheAgents) {
  ASSERT_TRUE(gateway_->write_ahead("main", "pulling\n").ok());
  for (const gw::LogPosition& position : gateway_->log_positions()) {
    *bootstrap_.add_log_positions() = position;
  }
  ASSERT_TRUE(gateway_->serve_reference_agent(bootstrap_).ok());
  open();
  say("one\n");
  save({"one\n"});
  EXPECT_EQ(end(), "pulling\none\n");
}

TEST_F(ReferenceAgentTest, ItsScriptWaitsWhileTheControllerIsTooFarBehind) {
  options_.spool_quota = 8;
  open();
  service_.state().with([](auto& state) { state.down = error(Code::Unavailable, "away"); });
  say("more than eight bytes\n");
  Guarded<bool> said(false);
  const Thread script([&](const StopToken&) {
    const Status appended = agent().append_log("main", "more\n");
    said.update([&](bool& value) { value = appended.ok(); });
  });
  EXPECT_FALSE(said.wait_until(
      StopToken(), system_clock().now() + std::chrono::milliseconds(50),
      [](bool& value) { return value; }, [](bool& value, bool) { return value; }));
  service_.state().with([](auto& state) { state.down.reset(); });
  EXPECT_TRUE(said.wait_until(
      StopToken(), system_clock().now() + std::chrono::seconds(20),
      [](bool& value) { return value; }, [](bool& value, bool) { return value; }));
  EXPECT_EQ(end(), "more than eight bytes\nmore\n");
}

TEST_F(ReferenceAgentTest, WhatWaitsDoesNotFillTheDisk) {
  EXPECT_TRUE(agent().room_for_scratch().ok());
  options_.keep_free = 1ULL << 62U;
  open();
  EXPECT_EQ(agent().room_for_scratch().error().code(), Code::ResourceExhausted);
  say("one\n");
  agent().log_broke("main");
  say("three\n");
  const Result<std::uint64_t> saved =
      agent().complete_log("main", []() -> Result<std::string> { return std::string("x"); });
  EXPECT_EQ(saved.error().code(), Code::ResourceExhausted) << "a log without an end";
}

TEST_F(ReferenceAgentTest, ItsCachesEndWithTheTask) {
  EXPECT_TRUE(agent().lend_blobs().ok());
  (void)end();
  EXPECT_EQ(agent().lend_blobs().error().code(), Code::NotFound);
}

}  // namespace
}  // namespace cirrus::gateway
