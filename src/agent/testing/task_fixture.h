// SPDX-License-Identifier: MIT
// Runs whole tasks with real shells against a gateway in memory.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/task_run.h"
#include "agent/uplink.h"
#include "os/files.h"
#include "os/proc.h"
#include "rpc/testing/fake_blob_service.h"
#include "rpc/testing/fake_gateway.h"

namespace cirrus::agent::testing {

using rpc::testing::FakeGateway;

/// A task under construction and, after run(), what became of it.
class TaskFixture : public ::testing::Test {
 protected:
  TaskFixture() : directory_(std::move(os::TempDir::create("agent-test")).value()) {
    os::become_subreaper();  // as the agent's process is
    bootstrap.set_task_id("7");
    bootstrap.set_agent_secret("agent half");
    bootstrap.set_gateway_secret("gateway half");
    bootstrap.set_pre_created_working_dir((directory_.path() / "work").string());
    bootstrap.set_scratch_directory((directory_.path() / "scratch").string());
    bootstrap.set_kill_grace_milliseconds(200);
    bootstrap.mutable_commands()->set_timeout_in_seconds(60);
  }

  wire::Command& add_script(const std::string& name, const std::vector<std::string>& lines) {
    wire::Command& command = *bootstrap.mutable_commands()->add_commands();
    command.set_name(name);
    for (const std::string& line : lines) command.mutable_script_instruction()->add_scripts(line);
    return command;
  }
  wire::Command& add_background(const std::string& name, const std::vector<std::string>& lines) {
    wire::Command& command = *bootstrap.mutable_commands()->add_commands();
    command.set_name(name);
    for (const std::string& line : lines) {
      command.mutable_background_script_instruction()->add_scripts(line);
    }
    return command;
  }
  std::string& variable(const std::string& name) {
    return (*bootstrap.mutable_commands()->mutable_environment())[name];
  }
  std::filesystem::path work() const { return directory_.path() / "work"; }

  /// Runs the task to its end on this thread and delivers everything.
  void run() {
    run_until([this] {
      EXPECT_TRUE(
          outbox->wait_until_empty(std::chrono::steady_clock::now() + std::chrono::seconds(20)));
    });
    EXPECT_THAT(gateway().violations(), ::testing::IsEmpty());
  }
  /// Runs the task to its end, whoever listens.
  void run_alone() {
    run_until([] {});
  }

  /// Thread-safe: a test's own thread and the task may both be the first to ask.
  FakeGateway& gateway() {
    const std::lock_guard lock(gateway_mutex_);
    if (!gateway_) gateway_ = std::make_unique<FakeGateway>(script);
    return *gateway_;
  }
  /// For a second run in one test.
  void new_gateway() {
    const std::lock_guard lock(gateway_mutex_);
    gateway_ = nullptr;
  }
  std::string log(const std::string& step) { return gateway().log(step); }

  std::chrono::nanoseconds gateway_patience = kGatewayPatience;
  gateway::v1::Bootstrap bootstrap;
  os::Environment inherited = os::current_environment();
  FakeGateway::Script script;
  std::size_t outbox_limit = Outbox::kDefaultLimit;
  rpc::testing::FakeBlobService blobs;
  rpc::VaultLink* vault = nullptr;
  rpc::ShellLink* shells = nullptr;
  std::unique_ptr<Outbox> outbox;
  std::unique_ptr<TaskControl> control;

 private:
  void run_until(const std::function<void()>& delivered) {
    outbox = std::make_unique<Outbox>(outbox_limit);
    control = std::move(TaskControl::create()).value();
    Uplink uplink({.task_id = "7",
                   .agent_secret = Secret("agent half"),
                   .gateway_secret = Secret("gateway half"),
                   .agent_version = "test"},
                  gateway(), *outbox,
                  [this](const std::string& reason) { control->cancel(reason); });
    const std::unique_ptr<LogPump> pump = std::move(LogPump::create(*outbox)).value();
    TaskRun task({.bootstrap = bootstrap,
                  .inherited = inherited,
                  .outbox = *outbox,
                  .pump = *pump,
                  .control = *control,
                  .clock = system_clock(),
                  .blobs = blobs,
                  .vault = vault,
                  .shells = shells,
                  .on_started = [&uplink] { uplink.start(); },
                  .gateway_patience = gateway_patience});
    task.run();
    delivered();
  }

  os::TempDir directory_;
  std::mutex gateway_mutex_;
  std::unique_ptr<FakeGateway> gateway_;
};

}  // namespace cirrus::agent::testing
