// SPDX-License-Identifier: MIT
// A worker against scripted controllers, with a shell script in place of the agent.
#pragma once

#include <algorithm>

#include <gtest/gtest.h>

#include "isolation/none/none.h"
#include "os/files.h"
#include "os/temp_dir.h"
#include "rpc/testing/fake_upstream.h"
#include "worker/worker.h"

namespace cirrus::worker::testing {

using rpc::testing::FakeUpstream;

/// When a test gives up waiting.
inline Monotonic soon() {
  return system_clock().now() + std::chrono::seconds(20);
}

/// Two controllers of one worker, which are `server_` and `second_` of the fixture.
inline constexpr char kTwoUpstreams[] =
    "upstreams:\n  - {token: a, endpoint: \"http://fake:1\"}\n"
    "  - {token: b, endpoint: \"http://second:1\"}\nresources: {vms: 1}\ncancel-grace: 0s\n";

/// A worker under test; the end of the test ends it.
class WorkerFixture : public ::testing::Test {
 protected:
  WorkerFixture()
      : root_(os::TempDir::create("cirrus-worker-test").value()),
        gateway_(gateway::Gateway::create().value()),
        none_(isolation::make_none(false)) {
    agent("exit 0");
  }
  ~WorkerFixture() override {
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

}  // namespace cirrus::worker::testing
