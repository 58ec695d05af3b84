// SPDX-License-Identifier: MIT
// `cirrus worker run` and its agent, as real processes, against a server of the reference protocol.
#include "reference_server.h"

#include <fcntl.h>
#include <signal.h>

#include <algorithm>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/support/status_code_enum.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "os/files.h"
#include "os/process.h"
#include "os/temp_dir.h"

namespace cirrus::tests {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using State = ReferenceServer::State;

Monotonic soon() {
  return system_clock().now() + std::chrono::seconds(60);
}

class ReferenceServerTest : public ::testing::Test {
 protected:
  ReferenceServerTest() : root_(os::TempDir::create("cirrus-compat").value()) {
    EXPECT_TRUE(os::make_directories(root_.path() / "tmp").ok());
    EXPECT_TRUE(
        os::write_file(root_.path() / "w.yml", "token: pool-token\nname: w\ncancel-grace: 2s\n")
            .ok());
  }
  ~ReferenceServerTest() override {
    EXPECT_THAT(server_.book.with([](State& s) { return s.complaints; }), IsEmpty());
    if (HasFailure()) {
      for (const std::string& line : trace()) std::printf("%s\n", line.c_str());
      const Result<std::string> log = os::read_file(root_.path() / "worker.log");
      if (log.ok()) std::printf("%s\n", log.value().c_str());
    }
    if (!worker_) return;
    worker_->send_signal(SIGTERM);
    worker_->send_signal(SIGTERM);
    if (!worker_->wait(StopToken(), soon()).ok()) worker_->send_signal(SIGKILL);
  }

  void start_worker() {
    const os::Fd log =
        os::open_file(root_.path() / "worker.log", O_WRONLY | O_CREAT | O_APPEND).value();
    os::SpawnOptions options;
    options.argv = command("run");
    options.argv.insert(options.argv.end(), {"--data-dir", (root_.path() / "data").string()});
    options.environment = environment();
    options.descriptors = {{1, log.get()}, {2, log.get()}};
    worker_ = os::Process::spawn(options).value();
  }
  std::vector<std::string> command(const std::string& verb) const {
    return {std::string(CIRRUS_BINARY_DIR) + "/cirrus",
            "worker",
            verb,
            "-f",
            (root_.path() / "w.yml").string(),
            "--rpc-endpoint",
            "http://127.0.0.1:" + std::to_string(server_.port())};
  }
  os::Environment environment() const {
    return {{"PATH", "/usr/bin:/bin"},
            {"HOME", root_.path().string()},
            {"TMPDIR", (root_.path() / "tmp").string()}};
  }

  /// Scripts a task and puts it into the next poll's answer.
  void assign(const std::string& id,
              const std::vector<std::pair<std::string, std::vector<std::string>>>& steps) {
    server_.book.update([&](State& state) {
      pb::CommandsResponse& commands = state.commands[id];
      commands.set_servertoken("server");
      commands.set_timeout_in_seconds(60);
      for (const auto& [name, lines] : steps) {
        pb::Command& step = *commands.add_commands();
        step.set_name(name);
        for (const std::string& line : lines) {
          step.mutable_script_instruction()->add_scripts(line);
        }
      }
      pb::PollResponse response;
      auto& task = *response.add_tasks_to_start();
      task.set_task_id(id);
      task.set_old_task_id(std::stoll(id));
      task.set_client_secret("client");
      task.set_server_secret("server");
      task.mutable_isolation()->mutable_none();
      state.replies.push_back(std::move(response));
    });
  }
  void fail_next(const std::string& method, int code, int times = 1) {
    server_.book.update([&](State& state) {
      for (int i = 0; i < times; ++i) state.failures[method].push_back(code);
    });
  }
  bool saw(const std::string& line) {
    return server_.book.wait_until(
        StopToken(), soon(),
        [&](State& state) {
          return std::find(state.trace.begin(), state.trace.end(), line) != state.trace.end();
        },
        [](State&, bool reached) { return reached; });
  }
  std::vector<std::string> trace() {
    return server_.book.with([](State& state) { return state.trace; });
  }
  /// The lines of the trace that do not begin with `Poll`.
  std::vector<std::string> trace_without_polls() {
    std::vector<std::string> lines = trace();
    std::erase_if(lines, [](const std::string& line) { return line.starts_with("Poll"); });
    return lines;
  }
  std::string streamed(const std::string& name) {
    return server_.book.with([&](State& state) { return state.streamed[name]; });
  }
  std::string saved(const std::string& name) {
    return server_.book.with([&](State& state) { return state.saved[name]; });
  }
  std::filesystem::path file(const char* name) const { return root_.path() / name; }

  os::TempDir root_;
  ReferenceServer server_;
  std::optional<os::Process> worker_;
};

TEST_F(ReferenceServerTest, ATaskRunsInTheOrderTheReferenceExpects) {
  assign("42", {{"main", {"echo one"}}, {"check", {"echo two"}}});
  start_worker();
  ASSERT_TRUE(saw("TaskStopped 42"));
  EXPECT_THAT(
      trace_without_polls(),
      ElementsAre("Register", "TaskStarted 42", "InitialCommands 42", "Updates 42 main=EXECUTING",
                  "StreamLogs 42 main", "SaveLogs 42 main", "Updates 42 main=COMPLETED",
                  "Updates 42 check=EXECUTING", "StreamLogs 42 check", "SaveLogs 42 check",
                  "Updates 42 check=COMPLETED", "Finished 42", "TaskStopped 42"));
  EXPECT_EQ(streamed("42 main"), "echo one\none\n");
  EXPECT_EQ(saved("42 main"), "echo one\none\n");
  EXPECT_EQ(saved("42 check"), "echo two\ntwo\n");
  server_.book.with([](State& state) {
    const auto& results = state.finished["42"].command_results();
    ASSERT_GE(results.size(), 2);
    EXPECT_EQ(results[results.size() - 1].status(), pb::Status::COMPLETED);
    // The first poll lists nothing, one of a later moment the task under both its names.
    EXPECT_EQ(state.polls.front().running_tasks_size(), 0);
    for (const pb::PollRequest& poll : state.polls) {
      EXPECT_EQ(poll.running_tasks_size(), poll.old_running_tasks_size());
      EXPECT_EQ(poll.worker_info().labels().at("name"), "w");
    }
  });
}

TEST_F(ReferenceServerTest, TheIntervalIsTheServersWord) {
  start_worker();
  ASSERT_TRUE(server_.book.wait_until(
      StopToken(), soon(), [](State& state) { return state.polls.size() >= 3; },
      [](State&, bool reached) { return reached; }));
  // Nothing is held, so a worker that did not wait would have polled a thousand times.
  EXPECT_LE(server_.book.with([](State& state) { return state.polls.size(); }), 4U);
}

TEST_F(ReferenceServerTest, RegistersAgainWhenTheServerForgotItAndTheTaskGoesOn) {
  assign("42", {{"main",
                 {"while [ ! -e " + file("go").string() + " ]; do sleep 0.05; done", "echo end"}}});
  start_worker();
  ASSERT_TRUE(saw("Poll 42"));
  server_.book.update([](State& state) { state.sessions.clear(); });
  ASSERT_TRUE(saw("Poll 42 ! UNAUTHENTICATED"));
  ASSERT_TRUE(server_.book.wait_until(
      StopToken(), soon(), [](State& state) { return state.registrations == 2; },
      [](State&, bool reached) { return reached; }));
  ASSERT_TRUE(os::write_file(file("go"), "").ok());
  ASSERT_TRUE(saw("TaskStopped 42"));
  EXPECT_THAT(saved("42 main"), HasSubstr("end\n"));
}

TEST_F(ReferenceServerTest, AnEndIsNotLostWithTheSessionItWasToBeReportedIn) {
  assign("42", {{"main", {"while [ ! -e " + file("go").string() + " ]; do sleep 0.05; done"}}});
  server_.book.update([](State& state) { state.interval = 3600; });
  start_worker();
  ASSERT_TRUE(saw("Updates 42 main=EXECUTING"));
  server_.book.update([](State& state) {
    state.sessions.clear();
    state.interval = 1;
  });
  ASSERT_TRUE(os::write_file(file("go"), "").ok());
  ASSERT_TRUE(saw("TaskStopped 42 ! UNAUTHENTICATED"));
  EXPECT_TRUE(saw("TaskStopped 42"));
}

TEST_F(ReferenceServerTest, AServerWithoutSessionsIsRegisteredAtBeforeEveryPoll) {
  server_.book.update([](State& state) { state.stateless = true; });
  assign("42", {{"main", {"echo one"}}});
  start_worker();
  ASSERT_TRUE(saw("TaskStopped 42"));
  ASSERT_TRUE(server_.book.wait_until(
      StopToken(), soon(), [](State& state) { return state.polls.size() >= 3; },
      [](State&, bool reached) { return reached; }));
  std::vector<std::string> lines = trace();
  std::erase_if(lines, [](const std::string& line) {
    return !line.starts_with("Poll") && !line.starts_with("Register");
  });
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_THAT(lines[i], StartsWith(i % 2 == 0 ? "Register" : "Poll")) << i;
  }
}

TEST_F(ReferenceServerTest, ReportsUntilTheyAreAcknowledged) {
  // The agent ends without a word: only the worker can say so.
  assign("42", {{"main", {"kill -9 $PPID"}}});
  fail_next("TaskFailed", grpc::UNAVAILABLE, 3);
  fail_next("TaskStopped", grpc::DEADLINE_EXCEEDED, 2);
  start_worker();
  ASSERT_TRUE(saw("TaskStopped 42"));
  std::vector<std::string> ends = trace_without_polls();
  std::erase_if(ends, [](const std::string& line) {
    return !line.starts_with("TaskFailed") && !line.starts_with("TaskStopped");
  });
  ASSERT_EQ(ends.size(), 7U);
  EXPECT_THAT(ends[2], HasSubstr("! UNAVAILABLE"));
  EXPECT_THAT(ends[3], StartsWith("TaskFailed 42: agent process exited unexpectedly"));
  EXPECT_EQ(ends[6], "TaskStopped 42");
}

TEST_F(ReferenceServerTest, AResultOutlivesAServerThatIsAway) {
  assign("42", {{"main",
                 {"seq 1 1000", "while [ ! -e " + file("go").string() + " ]; do sleep 0.05; done",
                  "seq 1001 2000"}}});
  start_worker();
  ASSERT_TRUE(saw("Updates 42 main=EXECUTING"));
  fail_next("StreamLogs", grpc::UNAVAILABLE, 2);
  fail_next("ReportAgentFinished", grpc::UNAVAILABLE, 2);
  server_.restart();
  ASSERT_TRUE(os::write_file(file("go"), "").ok());
  ASSERT_TRUE(saw("TaskStopped 42"));
  EXPECT_TRUE(saw("Finished 42"));
  // What was streamed may have a gap or bytes twice; the whole log that follows is exact.
  std::string expected;
  for (int i = 1; i <= 2000; ++i) expected += std::to_string(i) + "\n";
  std::string numbers;
  for (const std::string& line : [&] {
         std::vector<std::string> lines;
         std::string text = saved("42 main");
         for (std::size_t at = 0; at < text.size();) {
           const std::size_t end = text.find('\n', at);
           lines.push_back(text.substr(at, end - at));
           at = end == std::string::npos ? text.size() : end + 1;
         }
         return lines;
       }()) {
    if (!line.empty() && line.find_first_not_of("0123456789") == std::string::npos) {
      numbers += line + "\n";
    }
  }
  EXPECT_EQ(numbers, expected);
}

TEST_F(ReferenceServerTest, AServerThatSaysGoAwayAgainAndAgainLosesNothing) {
  assign("42", {{"main", {"for i in $(seq 1 60); do echo number $i; sleep 0.05; done"}}});
  start_worker();
  ASSERT_TRUE(saw("Updates 42 main=EXECUTING"));
  for (int i = 0; i < 8; ++i) {
    const std::size_t polls = server_.book.with([](State& state) { return state.polls.size(); });
    server_.restart();
    // Until the worker is back, so that each storm hits a connection.
    ASSERT_TRUE(server_.book.wait_until(
        StopToken(), soon(), [&](State& state) { return state.polls.size() > polls; },
        [](State&, bool reached) { return reached; }));
  }
  ASSERT_TRUE(saw("TaskStopped 42"));
  std::string expected;
  for (int i = 1; i <= 60; ++i) expected += fmt::format("number {}\n", i);
  EXPECT_THAT(saved("42 main"), ::testing::EndsWith("done\n" + expected));
  const std::vector<std::string> lines = trace();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "Finished 42"), 1);
}

TEST_F(ReferenceServerTest, AStopOrderMayComeUnderTheOldNameAlone) {
  assign("42", {{"main", {"echo begun; sleep 1000"}}});
  start_worker();
  ASSERT_TRUE(saw("Updates 42 main=EXECUTING"));
  pb::PollResponse stop;
  stop.add_old_task_ids_to_stop(42);
  stop.add_tasks_to_stop("7");  // unknown
  server_.book.update([&](State& state) { state.replies.push_back(stop); });
  EXPECT_TRUE(saw("TaskStopped 42"));
}

TEST_F(ReferenceServerTest, ATaskTheServerTookBackIsForgotten) {
  assign("42", {{"main", {"touch " + file("ran").string()}}});
  assign("43", {{"main", {"echo one"}}});
  fail_next("TaskStarted", grpc::NOT_FOUND);
  start_worker();
  ASSERT_TRUE(saw("TaskStopped 43"));
  EXPECT_THAT(trace(), Not(Contains("TaskStopped 42")));
  EXPECT_THAT(trace(), Not(Contains("Finished 42")));
  EXPECT_FALSE(std::filesystem::exists(file("ran")));
}

TEST_F(ReferenceServerTest, TheTraceOfABuildReachesItsScripts) {
  assign("42", {{"main", {"echo \"$TRACEPARENT|$TRACESTATE\""}}});
  server_.book.update([](State& state) {
    auto& task = *state.replies.back().mutable_tasks_to_start(0);
    task.set_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    task.set_tracestate("vendor=value");
  });
  start_worker();
  ASSERT_TRUE(saw("TaskStopped 42"));
  EXPECT_THAT(
      saved("42 main"),
      HasSubstr("\n00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01|vendor=value\n"));
}

TEST_F(ReferenceServerTest, WhatAServerLacksIsNoFailure) {
  assign("42", {{"main", {"echo one"}}});
  fail_next("SaveLogs", grpc::UNIMPLEMENTED);
  start_worker();
  ASSERT_TRUE(saw("TaskStopped 42"));
  EXPECT_THAT(trace(), Contains("Finished 42"));
  EXPECT_EQ(streamed("42 main"), "echo one\none\n");
}

TEST_F(ReferenceServerTest, AWrongServerTokenIsRefusedBeforeAnythingRuns) {
  assign("42", {{"main", {"touch " + file("ran").string()}}});
  server_.book.update([](State& state) { state.commands["42"].set_servertoken("other"); });
  start_worker();
  ASSERT_TRUE(saw("TaskStopped 42"));
  EXPECT_FALSE(std::filesystem::exists(file("ran")));
}

TEST_F(ReferenceServerTest, ShutdownIsAnOrder) {
  pb::PollResponse shutdown;
  shutdown.set_shutdown(true);
  server_.book.update([&](State& state) { state.replies.push_back(shutdown); });
  start_worker();
  const Result<os::ExitStatus> end = worker_->wait(StopToken(), soon());
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(end.value().code, 0);
}

TEST_F(ReferenceServerTest, PausesWithoutASessionAndWaitsForTheLastTask) {
  os::SpawnOptions pause;
  pause.argv = command("pause");
  pause.argv.emplace_back("--wait");
  pause.environment = environment();
  const auto paused = os::run_command(pause, "", StopToken(), soon());
  ASSERT_TRUE(paused.ok());
  EXPECT_TRUE(paused.value().status.success()) << paused.value().errors;
  os::SpawnOptions resume;
  resume.argv = command("resume");
  resume.environment = environment();
  EXPECT_TRUE(os::run_command(resume, "", StopToken(), soon()).value().status.success());
  EXPECT_THAT(trace(), ElementsAre("Pause", "QueryRunningTasks", "Resume"));
}

}  // namespace
}  // namespace cirrus::tests
