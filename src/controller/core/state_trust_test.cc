// SPDX-License-Identifier: MIT
// T11 at the core: what pools let untrusted builds do, whatever becomes of their tasks.
#include <gtest/gtest.h>

#include "controller/core/testing/state_harness.h"

namespace cirrus::controller::core {

namespace {
using model::StepStatus;
using model::TaskStatus;
using Words = std::vector<std::string>;

Actor stranger() {
  Actor actor("fork");
  actor.token_id = "f00d";
  actor.repositories = {"local/*"};
  actor.trusted = false;
  return actor;
}

Actor maintainer() {
  Actor actor("maintainer");
  actor.token_id = "beef";
  return actor;
}

Result<void> allow(StateHarness& h, const std::string& pool, const Words& words) {
  State::PoolSettings settings;
  settings.untrusted_isolations = model::IsolationSet::of(words).value();
  return h.ask<void>([&](State& s, auto reply, Moment now) {
    s.change_pool(pool, settings, "test", std::move(reply), now);
  });
}

/// A second pool, and a function that speaks for its worker.
std::string make_pool(StateHarness& h, const std::string& name, const Words& words) {
  State::PoolSettings settings;
  settings.untrusted_isolations = model::IsolationSet::of(words).value();
  return h
      .ask<State::NewToken>([&](State& s, auto reply, Moment now) {
        s.create_pool(
            name, settings, "test", [](const Result<void>& made) { ASSERT_TRUE(made.ok()); }, now);
        s.create_registration_token({name, {}, "", ""}, "test", std::move(reply), now);
      })
      .value()
      .token;
}

/// Workers of `release` (trusted builds only) beside the ones of `default`, which takes all.
class T11_Trust : public testing::Test {
 protected:
  void SetUp() override {
    open_token_ = h_.registration_token;
    release_token_ = make_pool(h_, "release", {});
  }
  void join(const std::string& worker, bool release) {
    h_.registration_token = release ? release_token_ : open_token_;
    ASSERT_TRUE(h_.register_worker(worker).ok());
  }
  std::string only_reason(model::BuildId build) {
    const model::WaitingReasons reasons = h_.current(build, "a").waiting_reasons;
    return reasons.size() == 1 ? std::string(to_string(reasons.front().kind)) : "several";
  }

  StateHarness h_;
  std::string open_token_;
  std::string release_token_;
};
}  // namespace

TEST_F(T11_Trust, AnUntrustedTaskWaitsBesideAnIdleWorkerThatWantsTrust) {
  join("r", true);
  const auto poll = h_.poll("r");
  const auto foreign = h_.submit_as(stranger(), {h_.task(0, "a")});
  EXPECT_EQ(h_.current(foreign, "a").status, TaskStatus::Ready);
  EXPECT_EQ(only_reason(foreign), "untrusted");
  EXPECT_TRUE(poll->tasks().empty());
  const auto own = h_.submit_as(maintainer(), {h_.task(0, "a")});
  EXPECT_EQ(poll->tasks().size(), 1U);
  EXPECT_EQ(h_.current(own, "a").status, TaskStatus::Assigned);
  join("w", false);
  EXPECT_EQ(h_.poll("w")->tasks().size(), 1U) << "the open pool takes it";
  EXPECT_EQ(h_.current(foreign, "a").worker, "w");
}

TEST_F(T11_Trust, ARestartKeepsTheRuleAndWhoseTheBuildIs) {
  join("r", true);
  const auto foreign = h_.submit_as(stranger(), {h_.task(0, "a")});
  h_.restart();
  EXPECT_TRUE(h_.poll("r")->tasks().empty());
  EXPECT_EQ(only_reason(foreign), "untrusted");
  const auto rows = h_.store.read_build(foreign).value();
  EXPECT_FALSE(rows->build.trusted);
  EXPECT_EQ(rows->build.submitted_by, "f00d");
}

TEST_F(T11_Trust, ATrustedPersonsRerunOrTriggerDoesNotMakeABuildTrusted) {
  join("w", false);
  api::Task manual = h_.task(1, "b");
  h_.set(manual, "trigger_type", "manual");
  const auto foreign = h_.submit_as(stranger(), {h_.task(0, "a"), manual});
  ASSERT_FALSE(h_.run_one("w", StepStatus::Failed).empty());
  ASSERT_TRUE(allow(h_, "default", {"container"}).ok());
  // Both are asked for while a pool would take them, were they in a container.
  const auto again = h_.ask<model::TaskId>([&](State& s, auto reply, Moment now) {
    s.rerun_task(h_.current(foreign, "a").id, maintainer(), std::move(reply), now);
  });
  ASSERT_TRUE(again.ok());
  const TaskView rerun = h_.current(foreign, "a");
  EXPECT_EQ(rerun.status, TaskStatus::Failed);
  EXPECT_NE(rerun.reason.find("no pool lets such builds use isolation 'none'"), std::string::npos)
      << rerun.reason;
  ASSERT_TRUE(h_.ask<void>([&](State& s, auto reply, Moment now) {
                  s.trigger_task(h_.current(foreign, "b").id, maintainer(), std::move(reply), now);
                }).ok());
  EXPECT_EQ(h_.current(foreign, "b").status, TaskStatus::Failed);
  join("r", true);
  EXPECT_TRUE(h_.poll("r")->tasks().empty());
}

TEST_F(T11_Trust, ALostAttemptRunsAgainOnlyWhereUntrustedBuildsMay) {
  join("w1", false);
  join("r", true);
  const auto first = h_.poll("w1");
  const auto foreign = h_.submit_as(stranger(), {h_.task(0, "a")});
  const auto parked = h_.poll("r");
  ASSERT_EQ(first->tasks().size(), 1U);
  // The only other worker is none for it: so it fails with the words of the first.
  ASSERT_TRUE(h_.failed("w1", h_.of(first->tasks()[0]), "no disk").ok());
  EXPECT_EQ(h_.current(foreign, "a").reason, "no disk");
  EXPECT_TRUE(parked->tasks().empty());
  join("w2", false);
  const auto second = h_.submit_as(stranger(), {h_.task(0, "a")});
  const auto lost = h_.poll("w1");
  ASSERT_EQ(lost->tasks().size(), 1U);
  const auto other = h_.poll("w2");
  ASSERT_TRUE(h_.failed("w1", h_.of(lost->tasks()[0]), "no disk").ok());
  EXPECT_EQ(h_.current(second, "a").attempt, 2);
  EXPECT_EQ(other->tasks().size(), 1U);
}

TEST_F(T11_Trust, AFinishedBuildThatIsTakenBackFromTheStoreIsWhatItWas) {
  join("w", false);
  const auto foreign = h_.submit_as(stranger(), {h_.task(0, "a")});
  ASSERT_FALSE(h_.run_one("w", StepStatus::Failed).empty());
  h_.restart();  // finished builds are not loaded
  ASSERT_TRUE(allow(h_, "default", {}).ok());
  h_.state().adopt_build(*h_.store.read_build(foreign).value(), h_.moment());
  ASSERT_TRUE(h_.ask<std::vector<model::TaskId>>([&](State& s, auto reply, Moment now) {
                  s.rerun_build(foreign, maintainer(), std::move(reply), now);
                }).ok());
  EXPECT_EQ(h_.current(foreign, "a").status, TaskStatus::Failed);
  EXPECT_NE(h_.current(foreign, "a").reason.find("every pool takes trusted builds only"),
            std::string::npos);
}

TEST_F(T11_Trust, WhatAPoolAllowsGoesByTheIsolationOfTheTask) {
  const struct {
    const char* name;
    std::function<void(api::Isolation&)> isolation;
    bool allowed;
  } cases[] = {
      {"nothing is none", [](api::Isolation&) {}, false},
      {"none", [](api::Isolation& i) { i.mutable_none(); }, false},
      {"a container", [](api::Isolation& i) { i.mutable_container()->set_image("x"); }, true},
      {"a VM of another kind", [](api::Isolation& i) { i.mutable_tart()->set_image("x"); }, false},
      {"a VM", [](api::Isolation& i) { i.mutable_vetu()->set_image("x"); }, true},
  };
  ASSERT_TRUE(allow(h_, "default", {"container", "vetu"}).ok());
  join("w", false);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    api::Task task = h_.task(0, "a");
    api::PersistentWorkerInstance instance;
    c.isolation(*instance.mutable_isolation());
    task.mutable_instance()->PackFrom(instance);
    const auto foreign = h_.submit_as(stranger(), {task});
    EXPECT_EQ(h_.current(foreign, "a").status, c.allowed ? TaskStatus::Ready : TaskStatus::Failed);
    const auto own = h_.submit_as(maintainer(), {task});
    EXPECT_EQ(h_.current(own, "a").status, TaskStatus::Ready);
  }
}

TEST_F(T11_Trust, AnUntrustedBuildOfTheSameBranchCancelsNoTrustedOne) {
  api::Task task = h_.task(0, "a");
  h_.set(task, "auto_cancellation", "true");
  const auto own = h_.submit_as(maintainer(), {task}, 0, "topic");
  const auto foreign = h_.submit_as(stranger(), {task}, 0, "topic");
  EXPECT_EQ(h_.current(own, "a").status, TaskStatus::Ready);
  h_.submit_as(stranger(), {task}, 0, "topic");
  EXPECT_EQ(h_.current(foreign, "a").status, TaskStatus::Aborted) << "its own kind it may";
  h_.submit_as(maintainer(), {task}, 0, "topic");
  EXPECT_EQ(h_.current(own, "a").status, TaskStatus::Aborted);
}

TEST_F(T11_Trust, WhatRunsWhenAPoolIsClosedGoesOnAndTheChangeIsAudited) {
  join("w", false);
  const auto foreign = h_.submit_as(stranger(), {h_.task(0, "a")});
  const auto waiting = h_.submit_as(stranger(), {h_.task(0, "a")});
  const auto assigned = h_.poll("w")->tasks().at(0);
  ASSERT_TRUE(h_.started("w", h_.of(assigned)).ok());
  ASSERT_TRUE(allow(h_, "default", {}).ok());
  ASSERT_TRUE(h_.finished(h_.of(assigned), StepStatus::Completed).ok());
  ASSERT_TRUE(h_.stopped("w", h_.of(assigned)).ok());
  EXPECT_EQ(h_.current(foreign, "a").status, TaskStatus::Completed);
  EXPECT_TRUE(h_.poll("w")->tasks().empty());
  EXPECT_EQ(only_reason(waiting), "untrusted");
  ASSERT_TRUE(allow(h_, "default", {"any"}).ok());
  EXPECT_EQ(h_.current(waiting, "a").status, TaskStatus::Assigned) << "its parked poll is answered";
  store::AuditQuery query;
  query.action = "pool.trust";
  const auto entries = h_.store.list_audit(query).value();
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[1].subject, "default (trusted builds only)");
  EXPECT_EQ(entries[0].subject, "default (untrusted builds: any)");
}

}  // namespace cirrus::controller::core
