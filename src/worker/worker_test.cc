// SPDX-License-Identifier: MIT
// The worker against a scripted controller, with a shell script in place of the agent.
#include "worker/worker.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "isolation/none/none.h"
#include "os/files.h"
#include "os/temp_dir.h"
#include "rpc/testing/fake_upstream.h"
#include "worker/task_record.h"

namespace cirrus::worker {
namespace {

using rpc::testing::FakeUpstream;

Monotonic soon() {
  return system_clock().now() + std::chrono::seconds(20);
}

class WorkerTest : public ::testing::Test {
 protected:
  WorkerTest()
      : root_(os::TempDir::create("cirrus-worker-test").value()),
        gateway_(gateway::Gateway::create().value()),
        none_(isolation::make_none(false)) {
    agent("exit 0");
  }
  ~WorkerTest() override {
    if (worker_) worker_->detach();  // for a test that gave up half-way
    if (loop_.joinable()) loop_.join();
    worker_.reset();
  }

  // The stand-in agent reads its bootstrap's frame, marks that it has it and then runs `script`.
  void agent(const std::string& script) {
    EXPECT_TRUE(os::write_file(root_.path() / "agent",
                               "#!/bin/sh\nhead -c 4 >/dev/null\nprintf '\\nreceived\\n' >&3\n" +
                                   script + "\n",
                               0755)
                    .ok());
  }

  void start(const std::string& yaml = "token: t\n") {
    Settings settings = make_settings(Flags{}, yaml, "w.yml", "w").value();
    settings.traces = traces_;
    WorkerParts parts;
    parts.state_directory = root_.path() / "state";
    parts.run_directory = root_.path() / "run";
    parts.agent_program = root_.path() / "agent";
    parts.version = "test";
    parts.gateway = gateway_.get();
    parts.isolation_for = [this](const rpc::pb::Isolation& wanted) {
      return wanted.has_tart() ? nullptr : none_.get();
    };
    parts.connect = [this](const UpstreamSettings& upstream,
                           const std::string&) -> Result<std::unique_ptr<rpc::Upstream>> {
      FakeUpstream::Shared& server = upstream.endpoint == "http://second:1" ? second_ : server_;
      return std::unique_ptr<rpc::Upstream>(
          std::make_unique<FakeUpstream>(server, upstream.endpoint));
    };
    worker_ = Worker::start(std::move(settings), std::move(parts)).value();
    loop_ = Thread([this] { end_.update([&](auto& end) { end = worker_->wait(); }); });
  }

  rpc::pb::PollResponse assignment(const std::string& id, const std::string& kind = "none") {
    rpc::pb::PollResponse response;
    auto& task = *response.add_tasks_to_start();
    task.set_task_id(id);
    task.set_client_secret("c");
    task.set_server_secret("s");
    if (kind == "none") task.mutable_isolation()->mutable_none();
    if (kind == "tart") task.mutable_isolation()->mutable_tart()->set_image("i");
    task.mutable_cirrus_commands()->set_servertoken("s");
    task.mutable_cirrus_commands()->set_timeout_in_seconds(60);
    return response;
  }
  void reply(rpc::pb::PollResponse response) {
    server_.state.update([&](auto& state) { state.replies.push_back(std::move(response)); });
  }
  bool saw(const std::string& beginning) { return saw_at(server_, beginning); }
  static bool saw_at(FakeUpstream::Shared& server, const std::string& beginning) {
    return server.state.wait_until(
        StopToken(), soon(),
        [&](auto& state) {
          return std::any_of(state.trace.begin(), state.trace.end(),
                             [&](const std::string& line) { return line.starts_with(beginning); });
        },
        [](auto&, bool reached) { return reached; });
  }
  std::vector<std::string> trace() {
    return server_.state.with([](auto& state) { return state.trace; });
  }
  void fail_next(const std::string& call, Code code, int times = 1) {
    server_.state.update([&](auto& state) {
      for (int i = 0; i < times; ++i) state.failures[call].push_back(error(code, "scripted"));
    });
  }
  // Ends the worker and says how.
  WorkerEnd finish() {
    worker_->drain();
    if (loop_.joinable()) loop_.join();
    return end_.with([](const auto& end) { return end; });
  }
  WorkerEnd joined() {
    loop_.join();
    return end_.with([](const auto& end) { return end; });
  }

  bool traces_ = false;
  os::TempDir root_;
  FakeUpstream::Shared server_;
  FakeUpstream::Shared second_;  // for settings with `http://second:1`
  std::unique_ptr<gateway::Gateway> gateway_;
  std::unique_ptr<isolation::Isolation> none_;
  std::unique_ptr<Worker> worker_;
  Guarded<WorkerEnd> end_;
  Thread loop_;
};

TEST_F(WorkerTest, RegistersPollsAndDrains) {
  start();
  ASSERT_TRUE(saw("poll"));
  EXPECT_EQ(trace().front(), "register");
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
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

constexpr char kTwoUpstreams[] =
    "upstreams:\n  - {token: a, endpoint: \"http://fake:1\"}\n"
    "  - {token: b, endpoint: \"http://second:1\"}\nresources: {vms: 1}\ncancel-grace: 0s\n";

TEST_F(WorkerTest, TwoControllersNeverOvercommitWhatOneWorkerHas) {
  // Each agent holds the directory while it runs: the second mkdir would fail.
  const std::string place = (root_.path() / "alone").string();
  agent("mkdir " + place + " || exit 7\nsleep 0.2\nrmdir " + place + "\nexit 3");
  start(kTwoUpstreams);
  rpc::pb::PollResponse first = assignment("1");
  (*first.mutable_tasks_to_start(0)->mutable_resources_to_use())["vms"] = 1;
  rpc::pb::PollResponse second = assignment("2");
  (*second.mutable_tasks_to_start(0)->mutable_resources_to_use())["vms"] = 1;
  second_.state.update([&](auto& state) { state.replies.push_back(std::move(second)); });
  reply(std::move(first));
  EXPECT_TRUE(saw("failed 1: agent process exited unexpectedly (exit status 3)"));
  EXPECT_TRUE(saw_at(second_, "failed 2: agent process exited unexpectedly (exit status 3)"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, ATaskWithoutResourcesRunsAlone) {
  const std::string place = (root_.path() / "alone").string();
  agent("mkdir " + place + " || exit 7\nsleep 0.2\nrmdir " + place + "\nexit 3");
  start(kTwoUpstreams);
  rpc::pb::PollResponse booked = assignment("1");
  (*booked.mutable_tasks_to_start(0)->mutable_resources_to_use())["vms"] = 0.5;
  rpc::pb::PollResponse plain = assignment("2");
  second_.state.update([&](auto& state) { state.replies.push_back(std::move(plain)); });
  reply(std::move(booked));
  EXPECT_TRUE(saw("failed 1: agent process exited unexpectedly (exit status 3)"));
  EXPECT_TRUE(saw_at(second_, "failed 2: agent process exited unexpectedly (exit status 3)"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, ATaskThatWaitsForResourcesCanBeStopped) {
  agent("sleep 1000");
  start(kTwoUpstreams);
  rpc::pb::PollResponse first = assignment("1");
  (*first.mutable_tasks_to_start(0)->mutable_resources_to_use())["vms"] = 1;
  reply(std::move(first));
  ASSERT_TRUE(saw("started 1"));
  rpc::pb::PollResponse second = assignment("2");
  (*second.mutable_tasks_to_start(0)->mutable_resources_to_use())["vms"] = 1;
  second_.state.update([&](auto& state) { state.replies.push_back(std::move(second)); });
  ASSERT_TRUE(saw_at(second_, "poll 2"));
  rpc::pb::PollResponse stop;
  stop.add_tasks_to_stop("2");
  second_.state.update([&](auto& state) { state.replies.push_back(std::move(stop)); });
  EXPECT_TRUE(saw_at(second_, "failed 2: stopped before it was started"));
  EXPECT_FALSE(second_.state.with([](auto& state) {
    return std::find(state.trace.begin(), state.trace.end(), "started 2") != state.trace.end();
  }));
  worker_->cancel_all();
  worker_->cancel_all();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, ADeadUpstreamDoesNotDelayAnother) {
  second_.state.update([](auto& state) {
    for (int i = 0; i < 1000; ++i) {
      state.failures["register"].push_back(error(Code::Unavailable, "down"));
    }
  });
  start(kTwoUpstreams);
  EXPECT_TRUE(saw("poll"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, AnEphemeralWorkerTakesOneTaskAndEnds) {
  agent("exit 3");
  start("token: t\nephemeral: true\n");
  rpc::pb::PollResponse two = assignment("1");
  *two.add_tasks_to_start() = assignment("2").tasks_to_start(0);
  reply(std::move(two));
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
  EXPECT_TRUE(saw("stopped 1"));
  for (const std::string& line : trace()) {
    EXPECT_EQ(line.find(" 2"), std::string::npos) << line;
  }
}

TEST_F(WorkerTest, AnEphemeralWorkerTellsAReferenceServerThatItTakesNoMore) {
  agent("sleep 1000");
  server_.state.update([](auto& state) { state.features = rpc::Features(); });
  start("token: t\nephemeral: true\ncancel-grace: 0s\n");
  rpc::pb::PollResponse two = assignment("1");
  *two.add_tasks_to_start() = assignment("2").tasks_to_start(0);
  reply(std::move(two));
  EXPECT_TRUE(saw("failed 2: this worker takes no more tasks"));
  worker_->cancel_all();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, AnIdleWorkerEndsByItself) {
  start("token: t\nexit-after-idle: 20ms\n");
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Finished);
}

TEST_F(WorkerTest, ADrainThatTakesTooLongCancels) {
  agent("sleep 1000");
  start("token: t\ndrain-timeout: 20ms\ncancel-grace: 0s\n");
  reply(assignment("1"));
  ASSERT_TRUE(saw("poll 1"));
  worker_->drain();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
  EXPECT_TRUE(saw("failed 1: stopped"));
}

TEST_F(WorkerTest, AReloadSaysWhatChangedAndTellsTheController) {
  start("token: t\nname: a\nlabels: {x: 1}\n");
  ASSERT_TRUE(saw("poll"));
  const std::vector<std::string> changes =
      worker_->reload(make_settings(Flags{},
                                    "token: t\nname: b\nlabels: {x: 2}\nresources: {cpu: 4}\n"
                                    "security: {max-timeout: 1h}\n",
                                    "w.yml", "w")
                          .value());
  EXPECT_EQ(changes, (std::vector<std::string>{"labels: x=1 -> x=2", "resources: none -> cpu=4",
                                               "security.max-timeout: absent -> 1h",
                                               "name: takes effect after a restart"}));
  EXPECT_TRUE(server_.state.wait_until(
      StopToken(), soon(),
      [](auto& state) {
        const rpc::pb::WorkerInfo& info = state.requests.back().worker_info();
        return info.labels().at("x") == "2" && info.resources_total().contains("cpu") &&
               info.labels().at("name") == "a";
      },
      [](auto&, bool reached) { return reached; }));
  EXPECT_TRUE(worker_
                  ->reload(make_settings(Flags{},
                                         "token: t\nname: a\nlabels: {x: 2}\n"
                                         "resources: {cpu: 4}\nsecurity: {max-timeout: 1h}\n",
                                         "w.yml", "w")
                               .value())
                  .empty());
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, ATaskLongerThanAllowedIsRefusedBeforeAnythingOfItRuns) {
  agent("touch " + (root_.path() / "ran").string());
  start("token: t\nsecurity: {max-timeout: 10s}\n");
  reply(assignment("42"));
  EXPECT_TRUE(saw("failed 42: a task of 60 s is longer than the 10 s"));
  EXPECT_TRUE(saw("stopped 42"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
  EXPECT_FALSE(std::filesystem::exists(root_.path() / "ran"));
}

TEST_F(WorkerTest, AFullDiskTakesNoTasksAndSaysWhy) {
  start("token: t\nmin-free-space: 8000 TiB\n");
  ASSERT_TRUE(saw("poll"));
  EXPECT_TRUE(server_.state.with([](auto& state) { return state.polls.back().draining; }));
  reply(assignment("42"));  // given away before the disk was full
  EXPECT_TRUE(saw("failed 42: this worker has"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, SaysHowItsUpstreamsAndTasksGetOn) {
  agent("sleep 1000");
  second_.state.update([](auto& state) {
    for (int i = 0; i < 1000; ++i) {
      state.failures["register"].push_back(error(Code::Unavailable, "scripted"));
    }
  });
  start(kTwoUpstreams);
  rpc::pb::PollResponse two = assignment("1");
  *two.add_tasks_to_start() = assignment("2").tasks_to_start(0);
  for (auto& task : *two.mutable_tasks_to_start()) {
    (*task.mutable_resources_to_use())["vms"] = 1;
  }
  reply(std::move(two));
  ASSERT_TRUE(saw("poll 1 2"));
  for (int i = 0; i < 4000 && worker_->facts().upstreams["http://second:1"].failure.empty(); ++i) {
    wait_for(StopToken(), std::chrono::milliseconds(5));
  }
  WorkerFacts facts = worker_->facts();
  ASSERT_EQ(facts.tasks.size(), 2U);
  EXPECT_EQ(facts.tasks[0].id, "1");
  EXPECT_EQ(facts.tasks[0].phase, TaskFacts::Phase::Running);
  EXPECT_EQ(facts.tasks[0].upstream, "http://fake:1");
  EXPECT_LT(system_clock().wall() - facts.tasks[0].since, std::chrono::minutes(2));
  EXPECT_EQ(facts.tasks[1].phase, TaskFacts::Phase::Waiting) << "there is one of what it needs";
  EXPECT_EQ(facts.resources_in_use, (std::map<std::string, double>{{"vms", 1}}));
  EXPECT_TRUE(facts.upstreams["http://fake:1"].registered);
  EXPECT_EQ(facts.upstreams["http://fake:1"].failure, "");
  EXPECT_TRUE(facts.upstreams["http://fake:1"].last_poll);
  EXPECT_FALSE(facts.upstreams["http://second:1"].registered);
  EXPECT_EQ(facts.upstreams["http://second:1"].failure, "scripted");
  EXPECT_FALSE(facts.upstreams["http://second:1"].last_poll);
  const auto paused = [this] { return worker_->ask_paused(std::chrono::seconds(9), StopToken()); };
  using Answers = std::map<std::string, bool>;
  EXPECT_EQ(paused(), (Answers{{"http://fake:1", false}})) << "only who can be reached is asked";
  server_.state.update([](auto& state) { state.disabled = true; });
  EXPECT_EQ(paused(), (Answers{{"http://fake:1", true}}));
  fail_next("running", Code::Unavailable);
  EXPECT_EQ(paused(), Answers());
  worker_->cancel_all();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerTest, ARestartForgetsNotSinceWhenATaskRuns) {
  agent("sleep 1000");
  start();
  reply(assignment("42"));
  ASSERT_TRUE(saw("poll 42"));
  const WallTime since = worker_->facts().tasks.at(0).since;
  worker_->detach();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Detached);
  worker_.reset();
  start("token: t\ncancel-grace: 0s\n");
  EXPECT_EQ(worker_->facts().tasks.at(0).since, since);
  worker_->cancel_all();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
}

constexpr char kTraceParent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST_F(WorkerTest, ATaskThatEndedLeavesItsSpanAlsoAcrossARestart) {
  agent("while [ ! -e " + (root_.path() / "go").string() + " ]; do sleep 0.02; done");
  traces_ = true;
  constexpr char kSettings[] =
      "upstreams: [{token: a, endpoint: \"http://ci.example.org:1\"}]\nresources: {slots: 2}\n";
  start(kSettings);
  rpc::pb::PollResponse response = assignment("42");
  response.mutable_tasks_to_start(0)->set_traceparent(kTraceParent);
  rpc::pb::PollResponse unsampled = assignment("43");
  unsampled.mutable_tasks_to_start(0)->set_traceparent(
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
  *response.add_tasks_to_start() = unsampled.tasks_to_start(0);
  for (auto& task : *response.mutable_tasks_to_start()) {
    (*task.mutable_resources_to_use())["slots"] = 1;
  }
  reply(std::move(response));
  ASSERT_TRUE(saw("poll 42 43"));
  EXPECT_TRUE(worker_->take_spans().empty()) << "it runs";
  const WallTime since = worker_->facts().tasks.at(0).since;
  worker_->detach();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Detached);
  worker_.reset();
  start(kSettings);
  EXPECT_TRUE(os::write_file(root_.path() / "go", "").ok());
  ASSERT_TRUE(saw("stopped 42"));
  ASSERT_TRUE(saw("stopped 43"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
  const std::vector<TaskSpan> spans = worker_->take_spans();
  ASSERT_EQ(spans.size(), 1U) << "one of a trace that is not sampled is not kept";
  EXPECT_EQ(spans[0].task_id, "42");
  EXPECT_EQ(spans[0].trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(spans[0].parent_span_id, "00f067aa0ba902b7");
  EXPECT_EQ(spans[0].start, since);
  EXPECT_GE(spans[0].end, since);
  EXPECT_EQ(spans[0].worker_name, "w");
  EXPECT_EQ(spans[0].upstream_host, "ci.example.org");
  EXPECT_EQ(spans[0].kind.type, "none");
  EXPECT_TRUE(worker_->take_spans().empty()) << "once";
}

TEST_F(WorkerTest, WithoutACollectorNothingIsTracedAndTheTracePassesThrough) {
  agent("cat >" + (root_.path() / "bootstrap").string() + "; exit 3");
  start();
  rpc::pb::PollResponse response = assignment("42");
  response.mutable_tasks_to_start(0)->set_traceparent(kTraceParent);
  reply(std::move(response));
  ASSERT_TRUE(saw("stopped 42"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
  EXPECT_TRUE(worker_->take_spans().empty());
  const std::string told = os::read_file(root_.path() / "bootstrap").value();
  EXPECT_NE(told.find(kTraceParent), std::string::npos);
}

TEST_F(WorkerTest, ATaskUserThatDoesNotExistIsAnErrorAtStart) {
  WorkerParts parts;
  parts.state_directory = root_.path() / "other";
  parts.run_directory = root_.path() / "run3";
  Settings settings =
      make_settings(Flags{}, "token: t\ntask-user: no-such-user\n", "w.yml", "w").value();
  const auto started = Worker::start(std::move(settings), std::move(parts));
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.error().to_string().find("no-such-user"), std::string::npos);
}

}  // namespace
}  // namespace cirrus::worker
