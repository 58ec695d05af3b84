// SPDX-License-Identifier: MIT
// A task on a worker, from its assignment to its reports, also across restarts.
#include <set>

#include "worker/task_record.h"
#include "worker/testing/worker_fixture.h"

namespace cirrus::worker {
namespace {

using testing::soon;
using WorkerTest = testing::WorkerFixture;

TEST_F(WorkerTest, RegistersPollsAndDrains) {
  start();
  ASSERT_TRUE(saw("poll"));
  EXPECT_EQ(trace().front(), "register");
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, NumbersItsPollsAboveThoseOfEarlierProcesses) {
  std::uint64_t last = 0;
  for (int life = 0; life < 3; ++life) {
    server_.state.update([](auto& state) {
      state.polls.clear();
      state.register_numbers.clear();
    });
    start();
    ASSERT_TRUE(server_.state.wait_until(
        StopToken(), soon(), [](auto& state) { return !state.polls.empty(); },
        [](auto&, bool polled) { return polled; }));
    finish();
    server_.state.with([&](auto& state) {
      EXPECT_GT(state.register_numbers.at(0), last) << "its beginning is newer than all before";
      last = state.register_numbers.at(0);
      for (const rpc::PollContext& poll : state.polls) {
        EXPECT_GT(poll.number, last);
        last = poll.number;
      }
    });
    worker_.reset();
    // As after a clock that went back.
    if (life == 1) {
      const std::string later = std::to_string((last >> 32U) + 1000);
      ASSERT_TRUE(os::write_file(root_.path() / "state" / "last-start", later).ok());
      last = ((last >> 32U) + 1000) << 32U;
    }
  }
}

TEST_F(WorkerTest, EndsWhenItsTokenIsRefusedAtFirst) {
  fail_next("register", Code::Unauthenticated);
  start();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Refused);
}

TEST_F(WorkerTest, TriesForEverWhenTheControllerIsAway) {
  fail_next("register", Code::Unavailable, 3);
  start();
  EXPECT_TRUE(saw("poll"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, RegistersAgainWhenItsSessionIsRefused) {
  fail_next("poll", Code::Unauthenticated);
  start();
  ASSERT_TRUE(saw("poll"));
  const std::vector<std::string> lines = trace();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "register"), 2);
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, ReportsAnAgentThatDiedAndForgetsTheTask) {
  agent("exit 3");
  start();
  reply(assignment("42"));
  ASSERT_TRUE(saw("stopped 42"));
  const std::vector<std::string> lines = trace();
  const auto at = [&](const std::string& beginning) {
    return std::find_if(lines.begin(), lines.end(),
                        [&](const std::string& line) { return line.starts_with(beginning); }) -
           lines.begin();
  };
  EXPECT_LT(at("started 42"), at("failed 42: agent process exited unexpectedly (exit status 3)"));
  EXPECT_LT(at("failed 42"), at("stopped 42"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
  EXPECT_TRUE(std::filesystem::is_empty(root_.path() / "state/tasks"));
}

TEST_F(WorkerTest, ReportsUntilItIsHeard) {
  fail_next("failed", Code::Unavailable, 2);
  fail_next("stopped", Code::DeadlineExceeded, 2);
  start();
  reply(assignment("42"));
  EXPECT_TRUE(saw("failed 42"));
  EXPECT_TRUE(saw("stopped 42"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, DropsATaskTheControllerTookBack) {
  fail_next("started", Code::NotFound);
  start();
  reply(assignment("42"));
  ASSERT_TRUE(saw("poll 42"));
  server_.state.wait_until(
      StopToken(), soon(), [](auto& state) { return state.failures["started"].empty(); },
      [](auto&, bool) {});
  reply(assignment("43"));
  ASSERT_TRUE(saw("stopped 43"));
  for (const std::string& line : trace()) {
    EXPECT_EQ(line.find("failed 42"), std::string::npos);
    EXPECT_EQ(line.find("stopped 42"), std::string::npos);
  }
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, RefusesWhatThePolicyForbidsWithoutStartingIt) {
  start("token: t\nsecurity:\n  allowed-isolations:\n    tart: {}\n");
  reply(assignment("42"));
  ASSERT_TRUE(saw("stopped 42"));
  EXPECT_TRUE(saw("failed 42: isolation 'none' is not allowed"));
  for (const std::string& line : trace()) EXPECT_FALSE(line.starts_with("started"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, SaysThatItHasNoSuchIsolation) {
  start();
  reply(assignment("42", "tart"));
  ASSERT_TRUE(saw("stopped 42"));
  EXPECT_TRUE(saw("failed 42: this worker has no isolation of the kind"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, RefusesCommandsOfAServerThatDidNotScheduleTheTask) {
  start();
  rpc::pb::PollResponse response = assignment("42");
  response.mutable_tasks_to_start(0)->mutable_cirrus_commands()->set_servertoken("other");
  reply(std::move(response));
  ASSERT_TRUE(saw("stopped 42"));
  EXPECT_TRUE(saw("failed 42: the server that sent the commands is not the one"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, AStopOrderEndsATaskWithinTheGrace) {
  agent("trap '' TERM\nsleep 1000 &\nwait\nwait\n");
  start("token: t\ncancel-grace: 100ms\n");
  reply(assignment("42"));
  ASSERT_TRUE(saw("poll 42"));
  rpc::pb::PollResponse stop;
  stop.add_tasks_to_stop("42");
  stop.add_tasks_to_stop("unknown");
  reply(std::move(stop));
  EXPECT_TRUE(saw("stopped 42"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, AdoptsALiveTaskBeforeItPolls) {
  agent("sleep 1000");
  start();
  reply(assignment("42"));
  ASSERT_TRUE(saw("poll 42"));
  worker_->detach();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Detached);
  worker_.reset();
  server_.state.update([](auto& state) { state.trace.clear(); });
  start("token: t\ncancel-grace: 0s\n");
  ASSERT_TRUE(saw("poll 42"));
  EXPECT_EQ(trace()[1], "poll 42") << "the first poll did not list the task";
  rpc::pb::PollResponse stop;
  stop.add_tasks_to_stop("42");
  reply(std::move(stop));
  EXPECT_TRUE(saw("stopped 42"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

// Version skew: what a worker of the first release left on its disk. See that folder's README.
const std::filesystem::path kFirstRelease = CIRRUS_SOURCE_DIR "/tests/compat/data/first";
constexpr char kFirstSettings[] =
    "token: t\nrpc: {endpoint: \"http://fake:1\"}\nresources: {cpu: 2}\ncancel-grace: 0s\n";

TEST_F(WorkerTest, AdoptsATaskWhoseRecordTheFirstReleaseWrote) {
  agent("sleep 1000");
  start(kFirstSettings);
  reply(assignment("42"));
  ASSERT_TRUE(saw("poll 42"));
  worker_->detach();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Detached);
  worker_.reset();
  const auto directory = root_.path() / "state/tasks/42";
  const TaskRecord live = load_task_record(directory).value();
  TaskRecord facts;  // of this machine: the process, where it is, and what it was told
  facts.set_agent_pid(live.agent_pid());
  facts.set_agent_start_time(live.agent_start_time());
  facts.set_run_directory(live.run_directory());
  facts.set_working_directory(live.working_directory());
  facts.set_task_cookie(live.task_cookie());
  facts.set_agent_secret(live.agent_secret());
  facts.set_gateway_secret(live.gateway_secret());
  const std::string bytes = os::read_file(kFirstRelease / "task-bootstrapped.pb").value();
  ASSERT_TRUE(os::write_file(directory / "task.pb", bytes + facts.SerializeAsString()).ok());
  ASSERT_FALSE(load_task_record(directory).value().receipt_marked());
  server_.state.update([](auto& state) { state.trace.clear(); });
  start(kFirstSettings);
  ASSERT_TRUE(saw("poll 42"));
  EXPECT_EQ(trace()[1], "poll 42") << "the first poll did not list the task";
  rpc::pb::PollResponse stop;
  stop.add_tasks_to_stop("42");
  reply(std::move(stop));
  EXPECT_TRUE(saw("stopped 42"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
  const std::vector<std::string> lines = trace();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "started 42"), 0) << "never a second time";
}

TEST_F(WorkerTest, StartsATaskThatTheFirstReleaseHadOnlyAccepted) {
  const auto directory = root_.path() / "state/tasks/42";
  ASSERT_TRUE(os::make_directories(directory).ok());
  std::filesystem::copy_file(kFirstRelease / "task-assigned.pb", directory / "task.pb");
  agent("exit 3");
  start(kFirstSettings);
  EXPECT_TRUE(saw("failed 42: agent process exited unexpectedly (exit status 3)"));
  EXPECT_TRUE(saw("stopped 42"));
  EXPECT_TRUE(saw("started 42"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, LeavesARecordOfANewerReleaseAlone) {
  const auto directory = root_.path() / "state/tasks/42";
  ASSERT_TRUE(os::make_directories(directory).ok());
  TaskRecord record;
  record.ParseFromString(os::read_file(kFirstRelease / "task-assigned.pb").value());
  record.set_version(kTaskRecordVersion + 1);
  ASSERT_TRUE(save_task_record(directory, record).ok());
  const std::string before = os::read_file(directory / "task.pb").value();
  start(kFirstSettings);
  ASSERT_TRUE(saw("poll"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
  EXPECT_EQ(os::read_file(directory / "task.pb").value(), before);
  for (const std::string& line : trace()) EXPECT_EQ(line.find(" 42"), std::string::npos) << line;
}

TEST_F(WorkerTest, ARestartRemovesSocketsThatNoTaskNames) {
  agent("sleep 1000");
  start();
  reply(assignment("42"));
  ASSERT_TRUE(saw("poll 42"));
  worker_->detach();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Detached);
  worker_.reset();
  const auto run = root_.path() / "run";
  std::filesystem::create_directories(run / "stale/guest");
  std::filesystem::create_directories(run / "of-an-engine");
  const auto kept = [&] {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(run)) {
      names.insert(entry.path().filename().string());
    }
    return names;
  };
  const std::size_t before = kept().size();
  start("token: t\ncancel-grace: 0s\n");
  ASSERT_TRUE(saw("poll 42"));
  EXPECT_FALSE(kept().contains("stale"));
  EXPECT_TRUE(kept().contains("of-an-engine"));
  EXPECT_EQ(kept().size(), before - 1) << "the live task's socket is gone";
  worker_->cancel_all();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, PollsOfADrainingWorkerSaySo) {
  agent("sleep 1000");
  start("token: t\ncancel-grace: 0s\n");
  reply(assignment("42"));
  ASSERT_TRUE(saw("poll 42"));
  worker_->drain();
  server_.state.wait_until(
      StopToken(), soon(), [](auto& state) { return state.polls.back().draining; },
      [](auto&, bool) {});
  EXPECT_TRUE(server_.state.with([](auto& state) { return state.polls.back().draining; }));
  worker_->cancel_all();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, OneDataDirectoryHasOneWorker) {
  start();
  Settings settings = make_settings(Flags{}, "token: t\n", "w.yml", "w").value();
  WorkerParts parts;
  parts.state_directory = root_.path() / "state";
  parts.run_directory = root_.path() / "run2";
  EXPECT_EQ(Worker::start(std::move(settings), std::move(parts)).error().code(),
            Code::AlreadyExists);
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

}  // namespace
}  // namespace cirrus::worker
