// SPDX-License-Identifier: MIT
// A State with a store in memory and a clock that is moved by hand; every call commits, so a
// `restart` at any place behaves as a crash there would.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/check.h"
#include "cirrus_instances.pb.h"
#include "controller/core/state.h"
#include "controller/store/memory_store.h"

namespace cirrus::controller::core {

/// What a poll was answered with, once it was.
struct PollSlot {
  std::optional<Result<api::PollResponse>> answer;
  bool answered() const { return answer.has_value(); }
  std::vector<api::PollResponse::AgentAwareTask> tasks() const {
    if (!answer || !answer->ok()) return {};
    return {answer->value().tasks_to_start().begin(), answer->value().tasks_to_start().end()};
  }
  std::vector<std::string> stops() const {
    if (!answer || !answer->ok()) return {};
    return {answer->value().tasks_to_stop().begin(), answer->value().tasks_to_stop().end()};
  }
};

class StateHarness {
 public:
  explicit StateHarness(Timing timing = {}) : timing_(timing) {
    restart();
    const auto made = ask<State::NewToken>([](State& s, auto reply, Moment now) {
      s.create_pool(
          "default", {}, "test", [](const Result<void>&) {}, now);
      s.create_registration_token({"default", {}, "", ""}, "test", std::move(reply), now);
    });
    registration_token = made.value().token;
  }

  /// As a crash and a new start: only what was committed is left.
  void restart() {
    StateOptions options;
    options.timing = timing_;
    options.http_url = "http://127.0.0.1:1";
    options.find_task = [this](model::TaskId id) { return store.read_task(id); };
    options.make_secret = [this] { return "secret-" + std::to_string(++secrets_); };
    state_ = std::make_unique<State>(std::move(options), store.load().value(), moment());
    commit();
  }
  Moment moment() const { return {clock.now(), clock.wall()}; }
  State& state() { return *state_; }

  /// Settles, commits, lets the effects out.
  void commit() {
    state_->settle(moment());
    const store::Changes changes = state_->take_changes();
    if (!changes.empty()) {
      CIRRUS_CHECK(store.apply(changes).ok(), "memory store");
    }
    for (const State::Effect& effect : state_->take_hints()) effect(nullptr);
    for (const State::Effect& effect : state_->take_effects()) effect(nullptr);
  }
  /// Moves time in steps of at most `tick`, settling after each.
  void pass(std::chrono::milliseconds time,
            std::chrono::milliseconds tick = std::chrono::seconds(1)) {
    while (time.count() > 0) {
      const auto step = std::min(time, tick);
      clock.advance(step);
      time -= step;
      commit();
    }
  }
  template <typename T, typename Question>
  Result<T> ask(Question question) {
    std::optional<Result<T>> answer;
    question(*state_, Reply<T>([&answer](Result<T> result) { answer.emplace(std::move(result)); }),
             moment());
    commit();
    CIRRUS_CHECK(answer.has_value(), "a question stayed unanswered");
    return *std::move(answer);
  }

  /// A task with one step `main`; `change` may do anything to it.
  static api::Task task(std::int64_t node, const std::string& name,
                        std::vector<std::int64_t> depends_on = {},
                        const model::Resources& resources = {}) {
    api::Task made;
    made.set_local_group_id(node);
    made.set_name(name);
    for (const std::int64_t required : depends_on) made.add_required_groups(required);
    api::Command& command = *made.add_commands();
    command.set_name("main");
    command.mutable_script_instruction()->add_scripts("true");
    api::PersistentWorkerInstance instance;
    for (const auto& [key, amount] : resources) (*instance.mutable_resources())[key] = amount;
    made.mutable_instance()->PackFrom(instance);
    return made;
  }
  static void set(api::Task& made, const std::string& key, const std::string& value) {
    (*made.mutable_metadata()->mutable_properties())[key] = value;
  }
  model::BuildId submit(std::vector<api::Task> tasks, int priority = 0,
                        const std::string& branch = "main") {
    return submit_as("test", std::move(tasks), priority, branch);
  }
  model::BuildId submit_as(const Actor& actor, std::vector<api::Task> tasks, int priority = 0,
                           const std::string& branch = "main") {
    NewBuild build;
    build.repository = "local/test";
    build.branch = branch;
    build.priority = priority;
    build.tasks = std::move(tasks);
    build.actor = actor;
    return ask<model::BuildId>([&](State& s, auto reply, Moment now) {
             s.submit(std::move(build), std::move(reply), now);
           })
        .value();
  }
  BuildView build(model::BuildId id) {
    Result<BuildView> view = state_->view_build(id);
    return view.ok() ? view.value() : State::view_of_rows(*store.read_build(id).value());
  }
  TaskView current(model::BuildId id, const std::string& name) {
    for (const TaskView& view : build(id).tasks) {
      if (view.name == name && view.current) return view;
    }
    CIRRUS_CHECK(false, "no task of that name");
  }

  WorkerCredential credential(const std::string& name, const std::string& instance = "i") {
    return {registration_token, sessions[name], name, instance};
  }
  Result<std::string> register_worker(const std::string& name, const std::string& instance = "i",
                                      std::uint64_t number = 0) {
    Result<std::string> token = ask<std::string>([&](State& s, auto reply, Moment now) {
      s.register_worker(
          {registration_token, name, instance, labels[name], resources[name], "", number},
          std::move(reply), now);
    });
    if (token.ok()) sessions[name] = token.value();
    return token;
  }
  std::shared_ptr<PollSlot> poll(const std::string& name, std::vector<std::string> running = {},
                                 const std::string& instance = "i", std::uint64_t number = 0) {
    auto slot = std::make_shared<PollSlot>();
    PollCall call;
    call.worker = credential(name, instance);
    call.features.hold = !instance.empty();
    call.number = number;
    call.draining = draining;
    call.leaving = leaving;
    call.labels = labels[name];
    call.resources = resources[name];
    call.running_tasks = std::move(running);
    call.standby = standby[name];
    state_->poll(
        std::move(call),
        [slot](Result<api::PollResponse> result) { slot->answer = std::move(result); }, moment());
    commit();
    return slot;
  }
  static TaskCredential of(const api::PollResponse::AgentAwareTask& assigned) {
    return {assigned.task_id(), assigned.client_secret()};
  }
  Result<void> started(const std::string& name, const TaskCredential& task_) {
    return ask<void>([&](State& s, auto reply, Moment now) {
      s.task_started(credential(name), task_, std::move(reply), now);
    });
  }
  Result<void> stopped(const std::string& name, const TaskCredential& task_) {
    return ask<void>([&](State& s, auto reply, Moment now) {
      s.task_stopped(credential(name), task_, std::move(reply), now);
    });
  }
  Result<void> failed(const std::string& name, const TaskCredential& task_,
                      const std::string& message) {
    return ask<void>([&](State& s, auto reply, Moment now) {
      s.task_failed(credential(name), task_, message, std::move(reply), now);
    });
  }
  Result<void> finished(const TaskCredential& task_, model::StepStatus status) {
    return ask<void>([&](State& s, auto reply, Moment now) {
      s.agent_finished(task_, {{"main", status, 1}}, std::move(reply), now);
    });
  }
  /// A worker takes whatever it is given next and runs it to this end.
  std::string run_one(const std::string& name, model::StepStatus end) {
    const auto slot = poll(name);
    if (slot->tasks().empty()) return {};
    const auto assigned = slot->tasks().front();
    CIRRUS_CHECK(started(name, of(assigned)).ok(), "started");
    CIRRUS_CHECK(finished(of(assigned), end).ok(), "finished");
    CIRRUS_CHECK(stopped(name, of(assigned)).ok(), "stopped");
    return assigned.task_id();
  }

  ManualClock clock;
  store::MemoryStore store;
  bool draining = false;  ///< what polls say
  bool leaving = false;
  std::string registration_token;
  std::map<std::string, std::string> sessions;
  std::map<std::string, model::Labels> labels;
  std::map<std::string, model::Resources> resources;
  std::map<std::string, StandbyReport> standby;

 private:
  const Timing timing_;
  int secrets_ = 0;
  std::unique_ptr<State> state_;
};

}  // namespace cirrus::controller::core
