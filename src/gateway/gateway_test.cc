// SPDX-License-Identifier: MIT
#include "gateway/gateway.h"

#include <algorithm>
#include <fstream>
#include <functional>

#include <gtest/gtest.h>

#include "gateway/spool.h"
#include "gateway/task_gateway.h"
#include "os/files.h"
#include "os/temp_dir.h"
#include "os/unix_socket.h"
#include "rpc/testing/fake_task_service.h"

namespace cirrus::gateway {
namespace {

using rpc::testing::FakeTaskService;

Monotonic soon() {
  return system_clock().now() + std::chrono::seconds(20);
}

bool eventually(const std::function<bool()>& condition) {
  const Monotonic deadline = soon();
  while (!condition()) {
    if (system_clock().now() >= deadline) return false;
    (void)wait_for(StopToken(), std::chrono::milliseconds(2));
  }
  return true;
}

// Remembers what the gateway answered.
class Answers final : public rpc::AgentConnection {
 public:
  struct State {
    std::vector<gw::GatewayMessage> messages;
    std::optional<Error> closed;
    int resumed = 0;
  };
  void send(gw::GatewayMessage message) override {
    state_.update([&](State& state) { state.messages.push_back(std::move(message)); });
  }
  void close(Error reason) override {
    state_.update([&](State& state) { state.closed = std::move(reason); });
  }
  void resume_reading() override {
    state_.update([](State& state) { ++state.resumed; });
  }
  Guarded<State>& state() { return state_; }

  std::uint64_t stored(const std::string& step) {
    return state_.with([&](State& state) {
      std::uint64_t offset = 0;
      for (const gw::GatewayMessage& message : state.messages) {
        if (message.has_log_stored() && message.log_stored().position().step() == step) {
          offset = message.log_stored().position().offset();
        }
      }
      return offset;
    });
  }
  bool is_closed() {
    return state_.with([](State& state) { return state.closed.has_value(); });
  }

 private:
  Guarded<State> state_;
};

class TaskGatewayTest : public ::testing::Test {
 protected:
  TaskGatewayTest() : root_(os::TempDir::create("cirrus-gateway-test").value()) {
    options_.task_id = "7";
    options_.paths = {root_.path() / "tasks/7", root_.path() / "run"};
    options_.agent_secret = Secret("agent-half");
    options_.gateway_secret = Secret("gateway-half");
    EXPECT_TRUE(os::make_directories(options_.paths.directory).ok());
  }
  ~TaskGatewayTest() override {
    session_.reset();
    if (gateway_) gateway_->close();
  }

  void open() {
    session_.reset();
    if (gateway_) gateway_->close();
    gateway_ = TaskGateway::open(options_, service_).value();
  }
  void attach() {
    answers_ = std::make_shared<Answers>();
    gw::AgentMessage::Hello hello;
    hello.set_task_id("7");
    hello.set_agent_secret("agent-half");
    session_ = gateway_->attach(hello, answers_).value();
  }
  bool log(const std::string& step, std::uint64_t offset, const std::string& data) {
    gw::AgentMessage message;
    message.mutable_log()->set_step(step);
    message.mutable_log()->set_offset(offset);
    message.mutable_log()->set_data(data);
    return session_->on_message(message);
  }
  void update(std::uint64_t sequence, const std::string& step, rpc::pb::Status status,
              std::uint64_t after) {
    gw::AgentMessage message;
    auto& event = *message.mutable_event();
    event.set_sequence(sequence);
    if (after > 0) {
      event.add_after()->set_step(step);
      event.mutable_after(0)->set_offset(after);
    }
    auto& result = *event.mutable_updates()->add_updates();
    result.set_name(step);
    result.set_status(status);
    session_->on_message(message);
  }
  void finished(std::uint64_t sequence) {
    gw::AgentMessage message;
    message.mutable_event()->set_sequence(sequence);
    message.mutable_event()->mutable_finished();
    session_->on_message(message);
  }
  bool wait_forwarded() {
    return gateway_->wait(StopToken(), soon(),
                          [](const TaskProgress& progress) { return progress.forwarded; });
  }
  std::vector<std::string> trace() {
    return service_.state().with([](auto& state) { return state.trace; });
  }
  std::string stored(const std::string& step) {
    return service_.state().with([&](auto& state) { return state.logs[step]; });
  }

  os::TempDir root_;
  FakeTaskService service_;
  TaskGatewayOptions options_;
  std::shared_ptr<TaskGateway> gateway_;
  std::shared_ptr<Answers> answers_;
  std::shared_ptr<rpc::AgentSession> session_;
};

TEST_F(TaskGatewayTest, ShowsItsHalfOnlyToAnAgentThatKnowsTheOther) {
  open();
  gw::AgentMessage::Hello hello;
  hello.set_task_id("7");
  hello.set_agent_secret("guess");
  const auto answers = std::make_shared<Answers>();
  EXPECT_EQ(gateway_->attach(hello, answers).error().code(), Code::Unauthenticated);
  EXPECT_TRUE(answers->state().with([](auto& state) { return state.messages.empty(); }));
  attach();
  answers_->state().with([](auto& state) {
    ASSERT_FALSE(state.messages.empty());
    EXPECT_EQ(state.messages.front().welcome().gateway_secret(), "gateway-half");
  });
}

TEST_F(TaskGatewayTest, TheWorkersOwnWordsComeBeforeTheAgents) {
  open();
  ASSERT_TRUE(gateway_->write_ahead("main", "pulling\n").ok());
  ASSERT_TRUE(gateway_->write_ahead("main", "pulled\n").ok());
  ASSERT_EQ(gateway_->log_positions().size(), 1U);
  EXPECT_EQ(gateway_->log_positions()[0].step(), "main");
  EXPECT_EQ(gateway_->log_positions()[0].offset(), 15U);
  // After a restart the next life adds to them.
  open();
  ASSERT_TRUE(gateway_->write_ahead("main", "again\n").ok());
  attach();
  EXPECT_EQ(gateway_->write_ahead("main", "too late").error().code(), Code::FailedPrecondition);
  log("main", 21, "hello\n");
  finished(1);
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(stored("main"), "pulling\npulled\nagain\nhello\n");
}

TEST_F(TaskGatewayTest, ResultsFollowBytes) {
  open();
  attach();
  update(1, "main", rpc::pb::EXECUTING, 0);
  log("main", 0, "hello ");
  log("main", 6, "world");
  update(2, "main", rpc::pb::COMPLETED, 11);
  finished(3);
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(stored("main"), "hello world");
  const std::vector<std::string> lines = trace();
  const auto position = [&](const std::string& line) {
    return std::find(lines.begin(), lines.end(), line) - lines.begin();
  };
  EXPECT_LT(position("update main EXECUTING"), position("update main COMPLETED"));
  EXPECT_LT(position("update main COMPLETED"), position("finished"));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].starts_with("log main")) {
      EXPECT_LT(static_cast<std::ptrdiff_t>(i), position("update main COMPLETED"));
    }
  }
  EXPECT_EQ(answers_->stored("main"), 11U);
}

// Version skew: see tests/compat/data/first/README.md.
TEST_F(TaskGatewayTest, AnAgentOfTheFirstReleaseIsUnderstood) {
  const auto saved = [](const char* name) {
    gw::AgentMessage message;
    EXPECT_TRUE(message.ParseFromString(
        os::read_file(std::string(CIRRUS_SOURCE_DIR "/tests/compat/data/first/") + name).value()));
    return message;
  };
  open();
  answers_ = std::make_shared<Answers>();
  session_ = gateway_->attach(saved("agent-hello.pb").hello(), answers_).value();
  for (const char* name : {"agent-log.pb", "agent-updates.pb", "agent-finished.pb"}) {
    EXPECT_TRUE(session_->on_message(saved(name))) << name;
  }
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(stored("main"), "hello\n");
  const std::vector<std::string> lines = trace();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "update main COMPLETED"), 1);
  EXPECT_EQ(lines.back(), "finished");
}

TEST_F(TaskGatewayTest, DropsWhatOverlapsAndRefusesAGap) {
  open();
  attach();
  log("main", 0, "abc");
  log("main", 1, "bcde");
  EXPECT_EQ(answers_->stored("main"), 5U);
  log("main", 9, "x");
  EXPECT_TRUE(answers_->is_closed());
  attach();
  answers_->state().with([](auto& state) {
    ASSERT_EQ(state.messages.front().welcome().stored_size(), 1);
    EXPECT_EQ(state.messages.front().welcome().stored(0).offset(), 5U);
  });
}

TEST_F(TaskGatewayTest, TheNewestStreamWinsAndTheOlderIsIgnored) {
  open();
  attach();
  const auto older = session_;
  const auto older_answers = answers_;
  log("main", 0, "one");
  attach();
  EXPECT_TRUE(older_answers->is_closed());
  gw::AgentMessage late;
  late.mutable_log()->set_step("main");
  late.mutable_log()->set_offset(3);
  late.mutable_log()->set_data("STALE");
  older->on_message(late);
  log("main", 3, "two");
  finished(1);
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(stored("main"), "onetwo");
}

TEST_F(TaskGatewayTest, LosesNothingWhenStreamsBreakAndTheControllerIsAway) {
  service_.state().with([](auto& state) {
    state.down = error(Code::Unavailable, "restarting");
    state.break_after = {3, 0, 5};
  });
  open();
  attach();
  log("main", 0, "0123456789");
  update(1, "main", rpc::pb::COMPLETED, 10);
  finished(2);
  EXPECT_FALSE(gateway_->wait(StopToken(), system_clock().now() + std::chrono::milliseconds(200),
                              [](const TaskProgress& progress) { return progress.forwarded; }));
  service_.state().update([](auto& state) { state.down.reset(); });
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(stored("main"), "0123456789");
  EXPECT_EQ(trace().back(), "finished");
}

TEST_F(TaskGatewayTest, AControllerThatLostAcknowledgedBytesGetsThemAgain) {
  open();
  attach();
  const std::string bytes(3U << 20U, 'x');
  log("main", 0, bytes);
  ASSERT_TRUE(eventually([&] { return answers_->stored("main") == bytes.size(); }));
  ASSERT_TRUE(eventually([&] { return stored("main") == bytes; }));
  // Its machine loses its power: what was not synced is gone.
  service_.state().update([](auto& state) { state.logs["main"].resize(1000); });
  update(1, "main", rpc::pb::COMPLETED, bytes.size());
  finished(2);
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(stored("main"), bytes);
  EXPECT_EQ(trace().back(), "finished");
}

TEST_F(TaskGatewayTest, WhatTheControllersDiskHasIsKeptNoLonger) {
  service_.state().update([](auto& state) { state.synced["main"] = 2U << 20U; });
  open();
  attach();
  log("main", 0, std::string(3U << 20U, 'x'));
  ASSERT_TRUE(eventually([&] { return stored("main").size() == 3U << 20U; }));
  update(1, "main", rpc::pb::EXECUTING, 3U << 20U);
  ASSERT_TRUE(eventually([&] { return !trace().empty() && trace().back().starts_with("update"); }));
  // A disk that breaks its word: the bytes are counted, and the log says which are missing.
  service_.state().update([](auto& state) { state.logs["main"].clear(); });
  update(2, "main", rpc::pb::COMPLETED, 3U << 20U);
  finished(3);
  ASSERT_TRUE(wait_forwarded());
  const std::string log = stored("main");
  ASSERT_EQ(log.size(), 3U << 20U);
  EXPECT_TRUE(log.starts_with("(bytes lost with the controller's disk)\n("));
  EXPECT_EQ(log.find('x'), 2U << 20U);
}

TEST_F(TaskGatewayTest, ARestartedWorkerForwardsWhatIsOnDisk) {
  service_.state().with([](auto& state) { state.down = error(Code::Unavailable, "away"); });
  open();
  attach();
  log("a step/with: odd name", 0, "spooled");
  update(1, "a step/with: odd name", rpc::pb::COMPLETED, 7);
  finished(2);
  open();
  EXPECT_TRUE(gateway_->progress().finished);
  service_.state().update([](auto& state) { state.down.reset(); });
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(stored("a step/with: odd name"), "spooled");
  EXPECT_EQ(service_.state().with([](auto& state) { return state.finished; }), 1);
  // Once more: everything was forwarded, so nothing is sent again.
  open();
  EXPECT_TRUE(gateway_->progress().finished);
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(service_.state().with([](auto& state) { return state.finished; }), 1);
  EXPECT_EQ(stored("a step/with: odd name"), "spooled");
}

TEST_F(TaskGatewayTest, AcknowledgesARepeatedEventWithoutForwardingItTwice) {
  open();
  attach();
  update(1, "main", rpc::pb::EXECUTING, 0);
  attach();
  update(1, "main", rpc::pb::EXECUTING, 0);
  finished(2);
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(trace(), (std::vector<std::string>{"update main EXECUTING", "finished"}));
}

TEST_F(TaskGatewayTest, SaysThatItIsFenced) {
  service_.state().with([](auto& state) { state.down = error(Code::NotFound, "no such task"); });
  open();
  attach();
  log("main", 0, "x");
  ASSERT_TRUE(wait_forwarded());
  ASSERT_TRUE(gateway_->progress().fenced.has_value());
  EXPECT_EQ(gateway_->progress().fenced->code(), Code::NotFound);
}

TEST_F(TaskGatewayTest, AReferenceServerGetsTheWholeLogOnceMore) {
  options_.log_offsets = false;
  service_.state().with([](auto& state) { state.counts_bytes = false; });
  open();
  attach();
  update(1, "main", rpc::pb::EXECUTING, 0);
  log("main", 0, "hello ");
  log("main", 6, "world");
  update(2, "main", rpc::pb::COMPLETED, 11);
  finished(3);
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(stored("main"), "hello world");
  EXPECT_EQ(service_.state().with([](auto& state) { return state.saved["main"]; }), "hello world");
  const std::vector<std::string> lines = trace();
  EXPECT_LT(std::find(lines.begin(), lines.end(), "save main"),
            std::find(lines.begin(), lines.end(), "update main COMPLETED"));
}

TEST_F(TaskGatewayTest, StopsReadingAtTheQuotaAndGoesOnBelowIt) {
  options_.spool_quota = 100;
  service_.state().with([](auto& state) { state.down = error(Code::Unavailable, "slow"); });
  open();
  attach();
  EXPECT_TRUE(log("main", 0, std::string(90, 'a')));
  EXPECT_FALSE(log("main", 90, std::string(90, 'b')));
  service_.state().update([](auto& state) { state.down.reset(); });
  answers_->state().wait_until(
      StopToken(), soon(), [](auto& state) { return state.resumed > 0; }, [](auto&, bool) {});
  EXPECT_EQ(answers_->state().with([](auto& state) { return state.resumed; }), 1);
  finished(1);
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(stored("main").size(), 180U);
}

TEST_F(TaskGatewayTest, TellsALateAgentToStop) {
  open();
  gateway_->cancel("the build was cancelled");
  attach();
  answers_->state().with([](auto& state) {
    ASSERT_EQ(state.messages.size(), 2U);
    EXPECT_EQ(state.messages[1].cancel().reason(), "the build was cancelled");
  });
}

// T04: the local secret is good for this task alone, and only until its end.
TEST_F(TaskGatewayTest, T04_BlobsAreLentToThisTaskUntilItsEnd) {
  open();
  attach();
  gw::BlobCaller caller;
  caller.set_task_id("7");
  caller.set_agent_secret("another task's half");
  EXPECT_EQ(gateway_->lend_blobs(caller).error().code(), Code::Unauthenticated);
  caller.set_agent_secret("agent-half");
  {
    const Result<rpc::BlobLease> lease = gateway_->lend_blobs(caller);
    ASSERT_TRUE(lease.ok());
    EXPECT_EQ(lease.value().service, &service_);
  }
  finished(1);
  EXPECT_EQ(gateway_->lend_blobs(caller).error().code(), Code::NotFound);
  const std::unique_ptr<Gateway> all = Gateway::create().value();
  ASSERT_TRUE(all->add(gateway_).ok());
  caller.set_task_id("8");
  EXPECT_EQ(all->lend_blobs(caller).error().code(), Code::NotFound);
}

TEST_F(TaskGatewayTest, ClosingWaitsForWhatIsLentAndTellsIt) {
  open();
  gw::BlobCaller caller;
  caller.set_task_id("7");
  caller.set_agent_secret("agent-half");
  std::optional<rpc::BlobLease> lease = gateway_->lend_blobs(caller).value();
  bool told = false;
  Thread user([&] {
    while (!lease->stop.stop_requested()) (void)wait_for(lease->stop, std::chrono::hours(1));
    told = true;
    lease.reset();
  });
  gateway_->close();
  EXPECT_TRUE(told);
  user.join();
  EXPECT_EQ(gateway_->lend_blobs(caller).error().code(), Code::NotFound);
}

TEST_F(TaskGatewayTest, FlushesTheLogOfAnAgentThatDied) {
  open();
  attach();
  log("main", 0, "last words");
  gateway_->agent_gone();
  ASSERT_TRUE(wait_forwarded());
  EXPECT_EQ(stored("main"), "last words");
  EXPECT_FALSE(gateway_->progress().finished);
}

TEST(Spool, KeepsOffsetsOverARestartAndAfterAHole) {
  const os::TempDir directory = os::TempDir::create("cirrus-spool-test").value();
  {
    Spool spool = Spool::open(directory.path(), "main").value();
    ASSERT_TRUE(spool.append(std::string(3U << 20U, 'x')).ok());
    ASSERT_TRUE(spool.append("tail").ok());
    spool.discard_before(2U << 20U);
  }
  const Spool spool = Spool::open(directory.path(), "main").value();
  EXPECT_EQ(spool.size(), (3U << 20U) + 4);
  EXPECT_EQ(spool.read(3U << 20U, 100).value(), "tail");
  EXPECT_EQ(spool.read((3U << 20U) + 4, 100).value(), "");
}

TEST(Spool, FileNamesOfStepsStayInTheirDirectory) {
  for (const std::string& step :
       std::vector<std::string>{"../../etc/passwd", "a/b", ".", "", "x\n", std::string(1, '\0')}) {
    const std::string name = file_name_of_step(step);
    EXPECT_EQ(name.find('/'), std::string::npos);
    EXPECT_NE(name, "..");
    EXPECT_FALSE(name.empty());
    EXPECT_FALSE(name.starts_with("."));
  }
  EXPECT_NE(file_name_of_step(std::string(500, 'a')), file_name_of_step(std::string(501, 'a')));
  EXPECT_LT(file_name_of_step(std::string(5000, '/')).size(), 200U);
}

TEST(Gateway, HandsConnectionsOverAndForgetsRemovedTasks) {
  const os::TempDir root = os::TempDir::create("cirrus-gw").value();
  FakeTaskService service;
  Guarded<int> adopted(0);
  const std::unique_ptr<Gateway> gateway = Gateway::create().value();
  gateway->set_adopter([&](os::Fd) { adopted.update([](int& count) { ++count; }); });
  TaskGatewayOptions options;
  options.task_id = "9";
  options.paths = {root.path() / "t", root.path() / "r"};
  ASSERT_TRUE(os::make_directories(options.paths.directory).ok());
  const std::shared_ptr<TaskGateway> task = TaskGateway::open(options, service).value();
  ASSERT_TRUE(gateway->add(task).ok());
  EXPECT_EQ(gateway->add(task).error().code(), Code::AlreadyExists);
  const os::Fd client = os::connect_unix(options.paths.socket()).value();
  EXPECT_TRUE(adopted.wait_until(
      StopToken(), soon(), [](int& count) { return count == 1; },
      [](int&, bool reached) { return reached; }));
  gateway->remove("9");
  gw::AgentMessage::Hello hello;
  hello.set_task_id("9");
  EXPECT_EQ(gateway->attach(hello, std::make_shared<Answers>()).error().code(), Code::NotFound);
  task->close();
}

}  // namespace
}  // namespace cirrus::gateway
