// SPDX-License-Identifier: MIT
// T25: machines that behave well and badly around a State, as a seed says.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "controller/core/testing/state_harness.h"
#include "controller/core/testing/trace.h"

namespace cirrus::controller::core {

using model::StepStatus;
using model::TaskStatus;

/// Who cancels: whoever replays a trace over HTTP has the token of that name.
inline constexpr const char* kActor = "admin";

/// One machine as the simulation sees it.
struct Machine {
  std::string name;
  bool registered = false;
  bool cut_off = false;  ///< nothing gets through in either direction
  bool paused = false;
  bool paused_at_poll = false;
  std::shared_ptr<PollSlot> poll;
  struct Running {
    TaskCredential credential;
    bool agent_done = false;
  };
  std::map<std::string, Running> running;
};

class Simulation {
 public:
  /// `traced`: what is done is kept, see `trace`.
  explicit Simulation(unsigned seed, bool traced = false) : random_(seed) {
    if (traced) trace_.emplace(h_);
    const int machines = 1 + roll(3);
    for (int i = 0; i < machines; ++i) {
      Machine machine;
      machine.name = "w" + std::to_string(i);
      if (roll(3) != 0) h_.resources[machine.name] = {{"cpu", 1.0 + roll(3)}};
      machines_.push_back(std::move(machine));
    }
  }

  /// Some steps, for a trace; in it, time passes between any two of them, because a clock that
  /// stands still would keep the state loop of a real controller busy.
  void run_steps(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) {
      act();
      pass(std::chrono::milliseconds(150));
      check();
    }
  }
  const Trace& trace() const { return *trace_; }
  const std::vector<model::BuildId>& builds() const { return builds_; }
  StateHarness& harness() { return h_; }

  void run() {
    for (int step = 0; step < 300; ++step) {
      act();
      check();
      if (testing::Test::HasFailure()) return;
    }
    // Everything heals: then every build has to end within a bound.
    faults_ = false;
    for (Machine& machine : machines_) {
      machine.cut_off = false;
      if (machine.paused) set_paused(machine, false);
    }
    // At least one machine that can run anything.
    Machine big;
    big.name = "big";
    h_.resources["big"] = {{"cpu", 16}};
    machines_.push_back(big);
    for (int round = 0; round < 4000 && !all_final(); ++round) {
      for (Machine& machine : machines_) work(machine);
      h_.pass(std::chrono::milliseconds(700));
      check();
      if (testing::Test::HasFailure()) return;
    }
    EXPECT_TRUE(all_final()) << "a build never ended";
  }

 private:
  int roll(int sides) { return static_cast<int>(random_() % static_cast<unsigned>(sides)); }
  /// True for one message in `sides`, while there are faults.
  bool fault(int sides) { return faults_ && roll(sides) == 0; }

  void act() {
    switch (roll(16)) {
      case 0: submit(); break;
      case 1: pass(std::chrono::milliseconds(50 + roll(4000))); break;
      case 2:
        if (roll(4) == 0) crash_controller();
        break;
      case 3:
        if (roll(3) == 0) crash(pick());
        break;
      case 4:
        if (roll(4) == 0) pick().cut_off = true;
        break;
      case 5: pick().cut_off = false; break;
      case 6:
        if (roll(3) == 0) set_paused(pick(), roll(2) == 0);
        break;
      case 7:
        if (roll(3) == 0 && !builds_.empty()) cancel();
        break;
      case 8:
        if (roll(6) == 0) pass(std::chrono::minutes(roll(14)));
        break;
      default: work(pick()); break;
    }
  }

  Machine& pick() {
    return machines_[static_cast<std::size_t>(roll(static_cast<int>(machines_.size())))];
  }

  void submit() {
    if (builds_.size() >= 12) return;
    std::vector<api::Task> tasks;
    const int count = 1 + roll(4);
    for (int i = 0; i < count; ++i) {
      std::vector<std::int64_t> depends_on;
      for (int j = 0; j < i; ++j) {
        if (roll(3) == 0) depends_on.push_back(j);
      }
      model::Resources resources;
      if (roll(2) == 0) resources["cpu"] = 1.0 + roll(2);
      tasks.push_back(StateHarness::task(i, "t" + std::to_string(i), depends_on, resources));
      if (roll(5) == 0) StateHarness::set(tasks.back(), "execution_lock", "lock");
      if (roll(6) == 0) StateHarness::set(tasks.back(), "allow_failures", "true");
    }
    TraceStep step{.kind = TraceStep::Kind::Submit, .priority = roll(3)};
    if (trace_) step.tasks = tasks;
    builds_.push_back(h_.submit(std::move(tasks), step.priority));
    note(std::move(step));
  }

  void crash_controller() {
    for (Machine& machine : machines_) machine.poll.reset();
    TraceStep step{.kind = TraceStep::Kind::Restart};
    if (roll(2) == 0) step.time = std::chrono::seconds(roll(900));
    h_.clock.advance(step.time);
    h_.restart();
    note(std::move(step));
  }

  void crash(Machine& machine) {
    machine.running.clear();
    machine.registered = false;
    machine.poll.reset();
  }

  void set_paused(Machine& machine, bool paused) {
    const auto changed = h_.ask<bool>([&](State& s, auto reply, Moment now) {
      s.update_status(h_.credential(machine.name), paused, std::move(reply), now);
    });
    if (changed.ok()) machine.paused = paused;
    note({.kind = TraceStep::Kind::Pause, .machine = machine.name, .on = paused}, changed);
  }

  void cancel() {
    const model::BuildId id =
        builds_[static_cast<std::size_t>(roll(static_cast<int>(builds_.size())))];
    const auto done = h_.ask<void>([&](State& s, auto reply, Moment now) {
      s.cancel_build(id, kActor, std::move(reply), now);
    });
    note({.kind = TraceStep::Kind::Cancel, .build = id}, done);
  }

  /// One thing a machine does.
  void work(Machine& machine) {
    if (machine.cut_off) {
      machine.poll.reset();
      return;
    }
    if (!machine.registered) {
      const auto token = h_.register_worker(machine.name);
      machine.registered = token.ok();
      return note({.kind = TraceStep::Kind::Register, .machine = machine.name}, token);
    }
    if (machine.poll && machine.poll->answered()) return receive(machine);
    if (!machine.poll || roll(5) == 0) {
      std::vector<std::string> running;
      for (const auto& [id, task] : machine.running) running.push_back(id);
      if (fault(12)) return;  // the request is lost
      machine.paused_at_poll = machine.paused;
      machine.poll = h_.poll(machine.name, running);
      return note({.kind = TraceStep::Kind::Poll,
                   .machine = machine.name,
                   .running = std::move(running),
                   .poll = machine.poll});
    }
    if (!machine.running.empty()) progress(machine);
  }

  void receive(Machine& machine) {
    const std::shared_ptr<PollSlot> slot = std::exchange(machine.poll, nullptr);
    if (!slot->answer->ok()) {
      machine.registered = false;
      return;
    }
    if (machine.paused && machine.paused_at_poll) {
      EXPECT_TRUE(slot->tasks().empty()) << "a paused worker got a task";
    }
    if (fault(12)) return;  // the answer is lost
    for (const std::string& id : slot->stops()) stop(machine, id);
    for (const auto& task : slot->tasks()) {
      EXPECT_FALSE(machine.running.contains(task.task_id()));
      const TaskCredential credential = StateHarness::of(task);
      if (fault(15)) continue;  // TaskStarted lost: the reference drops the task
      if (fault(20)) {          // it cannot: neither TaskStarted nor TaskStopped follow
        EXPECT_TRUE(failed(machine, credential, "not here").ok());
        continue;
      }
      const bool allowed = started(machine, credential).ok();
      if (fault(15)) {
        // Its answer is lost: ours asks again, and the answer is the same.
        EXPECT_EQ(started(machine, credential).ok(), allowed);
      }
      if (allowed) machine.running[task.task_id()] = {credential, false};
    }
  }

  void stop(Machine& machine, const std::string& id) {
    const auto found = machine.running.find(id);
    if (found == machine.running.end()) return;
    const TaskCredential credential = found->second.credential;
    machine.running.erase(found);
    if (fault(8)) return;
    note({.kind = TraceStep::Kind::Stopped, .machine = machine.name, .task = id},
         h_.stopped(machine.name, credential));
  }

  void progress(Machine& machine) {
    auto task = machine.running.begin();
    std::advance(task, roll(static_cast<int>(machine.running.size())));
    const std::string id = task->first;
    Machine::Running& running = task->second;
    if (!running.agent_done) {
      if (fault(10)) return;
      if (fault(25)) {
        EXPECT_TRUE(failed(machine, running.credential, "the machine gave up").ok());
        stop(machine, id);
        return;
      }
      const StepStatus end = roll(6) == 0 ? StepStatus::Failed : StepStatus::Completed;
      const bool lost = fault(20);
      if (!lost) {
        const Result<void> done = h_.finished(running.credential, end);
        EXPECT_TRUE(done.ok());
        note({.kind = TraceStep::Kind::Finished, .task = id, .end = end}, done);
      }
      running.agent_done = true;
      return;
    }
    stop(machine, id);
  }

  Result<void> started(const Machine& machine, const TaskCredential& task) {
    Result<void> answer = h_.started(machine.name, task);
    note({.kind = TraceStep::Kind::Started, .machine = machine.name, .task = task.id}, answer);
    return answer;
  }
  Result<void> failed(const Machine& machine, const TaskCredential& task, const char* why) {
    Result<void> answer = h_.failed(machine.name, task, why);
    note({.kind = TraceStep::Kind::Failed, .machine = machine.name, .task = task.id, .why = why},
         answer);
    return answer;
  }
  void pass(std::chrono::milliseconds time) {
    h_.pass(time, trace_ ? kTraceTick : std::chrono::seconds(1));
    note({.kind = TraceStep::Kind::Pass, .time = time});
  }

  /// What was just done, with the answer it got.
  void note(TraceStep step) {
    if (trace_) trace_->add(std::move(step));
  }
  template <typename T>
  void note(TraceStep step, const Result<T>& answer) {
    if (!answer.ok()) step.code = answer.error().code();
    note(std::move(step));
  }

  bool all_final() {
    for (const model::BuildId id : builds_) {
      if (!model::is_final(h_.build(id).record.status)) return false;
    }
    return true;
  }

  struct Use {
    double cpu = 0;
    int tasks = 0;
    int alone = 0;
  };

  /// What has to hold of everything that is durable, at any time.
  void check() {
    if (h_.store.commits() == checked_) return;
    checked_ = h_.store.commits();
    std::map<std::string, Use> uses;
    std::map<model::TaskId, TaskStatus> statuses;
    std::vector<const store::TaskRecord*> begun;    // were ready, and are given away now
    std::vector<const store::TaskRecord*> waiting;  // were ready, and still are
    const store::Loaded stored = h_.store.load().value();
    for (const store::BuildRows& rows : stored.builds) {
      std::map<int, int> live;
      for (const auto& definition : rows.definitions) remember(definition, rows.build);
      for (const store::TaskRecord& task : rows.tasks) {
        if (!model::is_final(task.status)) ++live[task.node];
        statuses[task.id] = task.status;
        const auto before = statuses_.find(task.id);
        if (before != statuses_.end() && before->second == TaskStatus::Ready) {
          if (task.status == TaskStatus::Ready) waiting.push_back(&task);
          if (model::is_running(task.status)) begun.push_back(&task);
        }
        if (!task.holds_worker) continue;
        Use& use = uses[task.worker];
        ++use.tasks;
        const model::Resources& wanted = spec_of(task).demand.resources;
        if (wanted.empty()) ++use.alone;
        for (const auto& [name, amount] : wanted) use.cpu += amount;
      }
      for (const auto& [node, attempts] : live) {
        ASSERT_LE(attempts, 1) << "two live attempts of one task";
      }
    }
    // Resources are never over-committed, and the resource-less rule holds.
    for (const auto& [name, use] : uses) {
      const auto offered = h_.resources[name].find("cpu");
      ASSERT_LE(use.cpu, (offered == h_.resources[name].end() ? 0 : offered->second) + 1e-9);
      if (use.alone > 0) {
        ASSERT_EQ(use.tasks, 1) << name;
      }
    }
    // Who wants the same is served in order. (A lock or a lost attempt has an order of its own.)
    for (const store::TaskRecord* later : begun) {
      for (const store::TaskRecord* earlier : waiting) {
        const TaskSpec& a = spec_of(*earlier);
        const TaskSpec& b = spec_of(*later);
        if (!a.execution_lock.empty() || !b.execution_lock.empty()) continue;
        if (earlier->lost_before != 0 || later->lost_before != 0) continue;
        if (a.demand.resources != b.demand.resources || a.demand.priority != b.demand.priority) {
          continue;
        }
        ASSERT_LT(later->id, earlier->id) << "a later task overtook an equal one";
      }
    }
    statuses_ = std::move(statuses);
  }

  void remember(const store::DefinitionRecord& definition, const store::BuildRecord& build) {
    std::shared_ptr<const TaskSpec>& spec = specs_[{definition.build, definition.node}];
    if (spec) return;
    api::Task message;
    ASSERT_TRUE(message.ParseFromString(definition.task));
    spec = read_task_spec(std::move(message), build);
  }
  const TaskSpec& spec_of(const store::TaskRecord& task) const {
    return *specs_.at({task.build, task.node});
  }

  std::mt19937 random_;
  StateHarness h_;
  std::optional<Trace> trace_;
  std::vector<Machine> machines_;
  std::vector<model::BuildId> builds_;
  bool faults_ = true;
  int checked_ = -1;  ///< commits of the store when it was looked at
  std::map<model::TaskId, TaskStatus> statuses_;
  std::map<std::pair<model::BuildId, int>, std::shared_ptr<const TaskSpec>> specs_;
};

}  // namespace cirrus::controller::core
