// SPDX-License-Identifier: MIT
// durable_dispatch: tasks given away per second by a state loop on a real SQLite store, each
// assignment on the disk before its worker hears of it. 500 workers in this process hold polls,
// start what they get, report it finished and ask again; the queue never runs dry.
#include <atomic>
#include <cstring>
#include <memory>

#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "cirrus_instances.pb.h"
#include "controller/core/core.h"
#include "controller/store/sqlite_store.h"
#include "os/temp_dir.h"
#include "stack.h"

namespace cirrus::bench {
namespace {
namespace core = controller::core;
constexpr int kWorkers = 500;
constexpr int kTasksOfABuild = 100;
constexpr int kAhead = 4000;  ///< tasks that are kept waiting

/// Everything runs on the loop's thread: replies come from there.
struct Load {
  core::Core& loop;
  std::string token;
  std::vector<core::WorkerCredential> workers;
  std::atomic<std::int64_t> given{0};
  std::atomic<std::int64_t> submitted{0};
  std::atomic<bool> over{false};

  void post(core::Core::Command command) {
    if (!over) over = !loop.post(std::move(command));
  }
  void submit() {
    core::NewBuild build;
    build.repository = "acme/app";
    build.branch = "main";
    build.actor = "bench";
    for (int node = 0; node < kTasksOfABuild; ++node) {
      core::api::Task task;
      task.set_local_group_id(node);
      task.set_name("task");
      task.add_commands()->set_name("main");
      core::api::PersistentWorkerInstance instance;
      (*instance.mutable_resources())["cpu"] = 1;
      task.mutable_instance()->PackFrom(instance);
      build.tasks.push_back(std::move(task));
    }
    submitted += kTasksOfABuild;
    auto shared = std::make_shared<core::NewBuild>(std::move(build));
    post([shared](core::State& state, core::Moment now) {
      state.submit(
          std::move(*shared), [](const Result<model::BuildId>&) {}, now);
    });
  }
  void poll(std::size_t index) {
    core::PollCall call;
    call.worker = workers[index];
    call.features.hold = true;
    call.resources = {{"cpu", 4}};
    post([this, index, call = std::move(call)](core::State& state, core::Moment now) {
      state.poll(
          call,
          [this, index](const Result<core::api::PollResponse>& answer) {
            if (answer.ok()) take(index, answer.value());
          },
          now);
    });
  }
  void take(std::size_t index, const core::api::PollResponse& answer) {
    for (const auto& task : answer.tasks_to_start()) {
      ++given;
      const core::TaskCredential credential{task.task_id(), task.client_secret()};
      post([this, index, credential](core::State& state, core::Moment now) {
        const auto ignore = [](const Result<void>&) {};
        state.task_started(workers[index], credential, ignore, now);
        state.agent_finished(credential, {{"main", model::StepStatus::Completed, 1}}, ignore, now);
        state.task_stopped(workers[index], credential, ignore, now);
      });
    }
    if (submitted - given < kAhead) submit();
    poll(index);
  }
};

int run(std::chrono::seconds duration) {
  set_log_level(LogLevel::Error);
  const Result<os::TempDir> directory = os::TempDir::create("durable-dispatch");
  if (!directory.ok()) return give_up(directory.error());
  const auto store = controller::store::open_sqlite_store(directory.value().path() / "c.db");
  if (!store.ok()) return give_up(store.error());
  core::StateOptions options;
  options.make_secret = [] { return random_hex(32); };
  const auto loop = core::Core::start(*store.value(), system_clock(), options);
  if (!loop.ok()) return give_up(loop.error());
  Load load{*loop.value(), {}, {}};
  const auto token = loop.value()->ask<core::State::NewToken>(
      [](core::State& state, core::Reply<core::State::NewToken> reply, core::Moment now) {
        state.create_pool(
            "default", {}, "bench", [](const Result<void>&) {}, now);
        state.create_registration_token({"default", {}, "", ""}, "bench", std::move(reply), now);
      });
  if (!token.ok()) return give_up(token.error());
  for (int i = 0; i < kWorkers; ++i) {
    load.workers.push_back({token.value().token, "", fmt::format("w{}", i), "instance"});
  }
  for (int i = 0; i < kAhead / kTasksOfABuild; ++i) load.submit();
  for (std::size_t i = 0; i < load.workers.size(); ++i) load.poll(i);
  (void)wait_for(StopToken(), std::chrono::seconds(1));
  const std::int64_t before = load.given;
  const Monotonic start = system_clock().now();
  (void)wait_for(StopToken(), duration);
  const double seconds = std::chrono::duration<double>(system_clock().now() - start).count();
  const std::int64_t given = load.given - before;
  load.over = true;
  loop.value()->stop();
  print_figure("durable_dispatch", static_cast<double>(given) / seconds, "1/s",
               static_cast<std::size_t>(given));
  return 0;
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  const bool full = argc > 1 && std::strcmp(argv[1], "--full") == 0;
  return cirrus::bench::run(std::chrono::seconds(full ? 60 : 8));
}
