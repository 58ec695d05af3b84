// SPDX-License-Identifier: MIT
#include "controller/core/state.h"

#include <gtest/gtest.h>

#include "controller/core/testing/state_harness.h"

namespace cirrus::controller::core {

namespace {
using model::BuildStatus;
using model::StepStatus;
using model::TaskStatus;
using std::chrono::minutes;
using std::chrono::seconds;
}  // namespace

TEST(State, ADependantRunsAfterWhatItNeeds) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a"), h.task(1, "b", {0})});
  EXPECT_EQ(h.current(id, "b").waiting_reasons.front().text, "it depends on task 'a' (1)");
  EXPECT_EQ(h.run_one("w", StepStatus::Completed), "1");
  EXPECT_EQ(h.current(id, "b").status, TaskStatus::Ready);
  EXPECT_EQ(h.run_one("w", StepStatus::Completed), "2");
  EXPECT_EQ(h.build(id).record.status, BuildStatus::Completed);
}

TEST(State, AFailureSkipsWhatDependsOnIt) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a"), h.task(1, "b", {0}), h.task(2, "c", {1})});
  h.run_one("w", StepStatus::Failed);
  EXPECT_EQ(h.current(id, "b").status, TaskStatus::Skipped);
  EXPECT_EQ(h.current(id, "b").reason, "it depends on task 'a', which has failed");
  EXPECT_EQ(h.current(id, "c").status, TaskStatus::Skipped);
  EXPECT_EQ(h.build(id).record.status, BuildStatus::Failed);
}

TEST(State, LateReportsOfATaskThatLeftMemoryAreTakenAndDropped) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  h.submit({h.task(0, "a")});
  const auto assigned = h.poll("w")->tasks().at(0);
  const TaskCredential task = h.of(assigned);
  ASSERT_TRUE(h.started("w", task).ok());
  ASSERT_TRUE(h.finished(task, StepStatus::Completed).ok());
  ASSERT_TRUE(h.stopped("w", task).ok());
  h.restart();
  EXPECT_TRUE(h.finished(task, StepStatus::Failed).ok());
  EXPECT_TRUE(h.stopped("w", task).ok());
  EXPECT_EQ(h.started("w", task).error().code(), Code::FailedPrecondition);
  // Only from those whose task it was.
  EXPECT_EQ(h.finished({task.id, "guess"}, StepStatus::Failed).error().code(),
            Code::Unauthenticated);
  ASSERT_TRUE(h.register_worker("other").ok());
  EXPECT_EQ(h.stopped("other", task).error().code(), Code::PermissionDenied);
  EXPECT_EQ(h.finished({"99", task.secret}, StepStatus::Failed).error().code(), Code::NotFound);
  EXPECT_EQ(h.current(model::BuildId{1}, "a").status, TaskStatus::Completed);
}

TEST(State, APlainContainerWaitsForAWorkerThatRunsContainers) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  api::Task plain = h.task(0, "a");
  api::ContainerInstance instance;
  instance.set_image("alpine:3");
  instance.set_cpu(2);
  instance.set_memory(4096);
  plain.mutable_instance()->PackFrom(instance);
  api::Task foreign = h.task(1, "b");
  instance.set_platform(api::WINDOWS);
  foreign.mutable_instance()->PackFrom(instance);
  const auto id = h.submit({plain, foreign});
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Ready);
  EXPECT_EQ(h.current(id, "b").status, TaskStatus::Failed);
  EXPECT_NE(h.current(id, "b").reason.find("not Linux"), std::string::npos);
}

TEST(State, WhatAnIsolationCannotSayOfAContainerIsKept) {
  api::Task task;
  api::ContainerInstance instance;
  instance.set_image("alpine:3");
  task.mutable_instance()->PackFrom(instance);
  EXPECT_FALSE(read_task_spec(task, {})->container) << "nothing more to say";
  instance.add_additional_containers()->set_name("db");
  task.mutable_instance()->PackFrom(instance);
  ASSERT_TRUE(read_task_spec(task, {})->container);
  EXPECT_EQ(read_task_spec(task, {})->container->additional_containers(0).name(), "db");
}

TEST(State, AnImageMadeFromADockerfileIsNamedByItsHash) {
  api::Task task;
  api::ContainerInstance instance;
  instance.set_dockerfile("ci/Dockerfile");
  task.mutable_instance()->PackFrom(instance);
  (*task.mutable_metadata()->mutable_properties())["dockerfile_hash"] = "0123";
  const auto spec = read_task_spec(task, {});
  EXPECT_EQ(spec->isolation.container().image(), "gcr.io/cirrus-ci-community/0123:latest");
  EXPECT_EQ(spec->isolation.container().dockerfile(), "ci/Dockerfile");
}

TEST(State, AnAllowedFailureLetsTheBuildPass) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  api::Task optional = h.task(0, "a");
  h.set(optional, "allow_failures", "true");
  const auto id = h.submit({optional, h.task(1, "b", {0})});
  h.run_one("w", StepStatus::Failed);
  h.run_one("w", StepStatus::Completed);
  EXPECT_EQ(h.build(id).record.status, BuildStatus::Completed);
}

TEST(State, ASkippedTaskCountsAsDone) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  api::Task skipped = h.task(0, "a");
  skipped.set_status(api::SKIPPED);
  const auto id = h.submit({skipped, h.task(1, "b", {0})});
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Skipped);
  h.run_one("w", StepStatus::Completed);
  EXPECT_EQ(h.build(id).record.status, BuildStatus::Completed);
}

TEST(State, WhatNoWorkerCanEverRunFailsAtOnce) {
  StateHarness h;
  api::Task container = h.task(0, "a");
  api::MacOSInstance instance;
  container.mutable_instance()->PackFrom(instance);
  const auto id = h.submit({container});
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Failed);
  EXPECT_NE(h.current(id, "a").reason.find("MacOSInstance"), std::string::npos);
}

TEST(State, AHeldPollEndsAfterItsTime) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto slot = h.poll("w");
  h.pass(seconds(24));
  EXPECT_FALSE(slot->answered());
  h.pass(seconds(2));
  ASSERT_TRUE(slot->answered());
  EXPECT_EQ(slot->answer->value().poll_interval_in_seconds(), 1U);
}

TEST(State, TheNewestPollWins) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto first = h.poll("w", {}, "i", 1);
  const auto third = h.poll("w", {}, "i", 3);
  EXPECT_TRUE(first->answered());
  EXPECT_FALSE(third->answered());
  const auto second = h.poll("w", {}, "i", 2);
  EXPECT_TRUE(second->answered()) << "overtaken on the way";
  h.submit({h.task(0, "a")});
  EXPECT_EQ(third->tasks().size(), 1U);
}

TEST(State, TheNewestPollAgainIsOldNews) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  h.submit({h.task(0, "a")});
  ASSERT_EQ(h.poll("w", {}, "i", 7)->tasks().size(), 1U);
  const auto again = h.poll("w", {}, "i", 7);
  EXPECT_TRUE(again->answered());
  EXPECT_TRUE(again->tasks().empty());
  EXPECT_FALSE(h.poll("w", {"1"}, "i", 8)->answered()) << "the next one is held";
}

TEST(State, AGoodbyeOfAnEarlierProcessTakesNothingFromTheNextOne) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w", "i", 100).ok());
  h.poll("w", {}, "i", 101);
  const auto say_goodbye = [&] {
    h.leaving = true;
    EXPECT_TRUE(h.poll("w", {}, "i", 102)->answered());
    h.leaving = false;
  };
  say_goodbye();
  h.poll("w", {}, "i", 101);
  const auto id = h.submit({h.task(0, "a")});
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Ready) << "not given to who has left";
  ASSERT_TRUE(h.register_worker("w", "i", 200).ok());
  const auto assigned = h.poll("w", {}, "i", 201)->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(assigned)).ok());
  ASSERT_TRUE(h.register_worker("w", "i", 100).ok());
  say_goodbye();
  say_goodbye();
  EXPECT_EQ(h.current(id, "a").attempt, 1);
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Executing);
  // A machine that was set up anew counts from the beginning.
  h.pass(minutes(2));
  ASSERT_TRUE(h.register_worker("w", "another", 5).ok());
  EXPECT_FALSE(h.poll("w", {"1"}, "another", 6)->answered());
}

TEST(State, AStartThatIsReportedLateDoesNotEndWhatIsHeld) {
  StateHarness h;
  h.resources["w"] = {{"cpu", 1}};
  ASSERT_TRUE(h.register_worker("w").ok());
  h.submit({h.task(0, "a")});
  const auto assigned = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(assigned)).ok());
  ASSERT_TRUE(h.finished(h.of(assigned), StepStatus::Completed).ok());
  EXPECT_EQ(h.started("w", h.of(assigned)).error().code(), Code::FailedPrecondition);
  EXPECT_EQ(h.state().view_workers(h.moment()).at(0).tasks.size(), 1U)
      << "its process may still be there";
}

TEST(State, AnAssignmentThatNeverArrivedIsMadeAgain) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  ASSERT_EQ(h.poll("w")->tasks().size(), 1U);  // and lost on the way
  h.poll("w");
  h.pass(seconds(3));
  const auto slot = h.poll("w");
  ASSERT_EQ(slot->tasks().size(), 1U);
  EXPECT_EQ(slot->tasks()[0].task_id(), "2");
  EXPECT_EQ(h.current(id, "a").attempt, 2);
}

TEST(State, AWorkerThatEndsGivesBackWhatItNeverHeardOf) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  ASSERT_TRUE(h.register_worker("v").ok());
  const auto id = h.submit({h.task(0, "a")});
  ASSERT_EQ(h.poll("w")->tasks().size(), 1U);  // and lost on the way: the worker was to drain
  h.leaving = true;
  EXPECT_TRUE(h.poll("w")->answered());
  h.leaving = false;
  const auto slot = h.poll("v");
  ASSERT_EQ(slot->tasks().size(), 1U) << "nobody waits for a worker that said it ends";
  EXPECT_EQ(h.current(id, "a").attempt, 2);
}

TEST(State, OneListWithoutANewTaskProvesNothing) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  const auto assigned = h.poll("w")->tasks().at(0);
  h.poll("w");  // was written before the assignment arrived
  ASSERT_TRUE(h.started("w", h.of(assigned)).ok());
  h.pass(seconds(3));
  h.poll("w", {"1"});
  EXPECT_EQ(h.current(id, "a").attempt, 1);
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Executing);
}

TEST(State, ARunningTaskThatVanishedRunsAgainWithNewSecrets) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  const auto lost = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(lost)).ok());
  h.poll("w");
  h.pass(seconds(3));
  const auto fresh = h.poll("w")->tasks().at(0);
  EXPECT_NE(fresh.task_id(), lost.task_id());
  EXPECT_NE(fresh.client_secret(), lost.client_secret());
  // The old attempt's words no longer count, and are no error either.
  EXPECT_TRUE(h.finished(h.of(lost), StepStatus::Completed).ok());
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Assigned);
}

TEST(State, AStrangeTaskInTheListIsToldToStop) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto slot = h.poll("w", {"77"});
  EXPECT_EQ(slot->stops(), std::vector<std::string>{"77"});
  const auto again = h.poll("w", {"77"});
  EXPECT_FALSE(again->answered()) << "not in a busy loop";
  h.pass(seconds(3));
  EXPECT_TRUE(again->answered());
}

TEST(State, ASilentWorkerIsUnreachableFirstAndLostLater) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  const auto assigned = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(assigned)).ok());
  h.pass(seconds(62));
  EXPECT_TRUE(h.current(id, "a").unreachable);
  EXPECT_EQ(h.current(id, "a").attempt, 1);
  h.pass(minutes(8));
  EXPECT_EQ(h.current(id, "a").attempt, 1);
  h.pass(minutes(2));
  EXPECT_EQ(h.current(id, "a").attempt, 2);
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Ready);
  // Back from the dead: its old task has to go, and it may take the new one.
  const auto slot = h.poll("w", {"1"});
  EXPECT_EQ(slot->stops(), std::vector<std::string>{"1"});
}

TEST(State, AWorkerThatComesBackInTimeGoesOn) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  const auto assigned = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(assigned)).ok());
  h.pass(minutes(9));
  h.poll("w", {"1"});
  EXPECT_FALSE(h.current(id, "a").unreachable);
  ASSERT_TRUE(h.finished(h.of(assigned), StepStatus::Completed).ok());
  EXPECT_EQ(h.build(id).record.status, BuildStatus::Completed);
}

TEST(State, AfterOurOwnOutageWorkersGetTheWholeTimeAgain) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  const auto assigned = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(assigned)).ok());
  h.clock.advance(std::chrono::hours(1));
  h.restart();
  h.pass(minutes(9));
  EXPECT_EQ(h.current(id, "a").attempt, 1);
  h.pass(minutes(2));
  EXPECT_EQ(h.current(id, "a").attempt, 2);
}

TEST(State, AStatefulTaskIsNeverRunTwiceByItself) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "deploy it")});
  const auto assigned = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(assigned)).ok());
  h.pass(minutes(30));
  EXPECT_EQ(h.current(id, "deploy it").attempt, 1);
  EXPECT_TRUE(h.current(id, "deploy it").unreachable);
}

TEST(State, ATaskThatOutlivesItsTimeIsStopped) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  api::Task quick = h.task(0, "a");
  h.set(quick, "timeout_in", "60");
  const auto id = h.submit({quick});
  const auto assigned = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(assigned)).ok());
  std::shared_ptr<PollSlot> slot;
  for (int i = 0; i < 25; ++i) {
    slot = h.poll("w", {"1"});
    h.pass(seconds(20));
    if (!slot->stops().empty()) break;
  }
  EXPECT_EQ(slot->stops(), std::vector<std::string>{"1"});
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Failed);
  EXPECT_NE(h.current(id, "a").reason.find("timed out"), std::string::npos);
}

TEST(State, AnAgentThatDiesSilentlyFailsItsTask) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a")});
  const auto assigned = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(assigned)).ok());
  ASSERT_TRUE(h.stopped("w", h.of(assigned)).ok());
  EXPECT_EQ(h.current(id, "a").status, TaskStatus::Failed);
  EXPECT_EQ(h.current(id, "a").reason, "the agent process ended without a result");
}

TEST(State, ResourcesAreHeldUntilTheTaskHasStopped) {
  StateHarness h;
  h.resources["w"] = {{"cpu", 2}};
  ASSERT_TRUE(h.register_worker("w").ok());
  h.submit({h.task(0, "a", {}, {{"cpu", 2}}), h.task(1, "b", {}, {{"cpu", 2}})});
  const auto first = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(first)).ok());
  ASSERT_TRUE(h.finished(h.of(first), StepStatus::Completed).ok());
  const auto held = h.poll("w", {"1"});
  EXPECT_TRUE(held->tasks().empty());
  ASSERT_TRUE(h.stopped("w", h.of(first)).ok());
  EXPECT_EQ(held->tasks().size(), 1U);
}

TEST(State, ALockLetsOneTaskInAtATime) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w1").ok());
  ASSERT_TRUE(h.register_worker("w2").ok());
  api::Task a = h.task(0, "a");
  api::Task b = h.task(0, "b");
  h.set(a, "execution_lock", "db");
  h.set(b, "execution_lock", "db");
  h.submit({a});
  const auto second = h.submit({b});
  const auto first = h.poll("w1")->tasks().at(0);
  EXPECT_TRUE(h.poll("w2")->tasks().empty());
  EXPECT_EQ(h.current(second, "b").waiting_reasons.front().text, "lock 'db' is held by task 1");
  h.restart();
  const auto held = h.poll("w2");
  EXPECT_TRUE(held->tasks().empty());
  ASSERT_TRUE(h.started("w1", h.of(first)).ok());
  ASSERT_TRUE(h.finished(h.of(first), StepStatus::Completed).ok());
  ASSERT_TRUE(h.stopped("w1", h.of(first)).ok());
  EXPECT_EQ(held->tasks().size(), 1U);
}

TEST(State, AManualTaskWaitsForItsTrigger) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  api::Task manual = h.task(1, "b", {0});
  h.set(manual, "trigger_type", "MANUAL");
  const auto id = h.submit({h.task(0, "a"), manual});
  h.run_one("w", StepStatus::Completed);
  EXPECT_EQ(h.build(id).record.status, BuildStatus::Completed);
  EXPECT_EQ(h.current(id, "b").waiting_reasons.front().text, "it waits to be triggered by hand");
  ASSERT_TRUE(h.ask<void>([&](State& s, auto reply, Moment now) {
                 s.trigger_task(model::TaskId{2}, "test", std::move(reply), now);
               }).ok());
  EXPECT_NE(h.build(id).record.status, BuildStatus::Completed);
  h.run_one("w", StepStatus::Completed);
  EXPECT_EQ(h.build(id).record.status, BuildStatus::Completed);
}

TEST(State, ARerunReopensWhatWasSkipped) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto id = h.submit({h.task(0, "a"), h.task(1, "b", {0})});
  h.run_one("w", StepStatus::Failed);
  EXPECT_EQ(h.build(id).record.status, BuildStatus::Failed);
  const auto fresh = h.ask<model::TaskId>([&](State& s, auto reply, Moment now) {
    s.rerun_task(model::TaskId{1}, "test", std::move(reply), now);
  });
  ASSERT_TRUE(fresh.ok());
  h.restart();
  EXPECT_EQ(h.run_one("w", StepStatus::Completed), fresh.value().to_string());
  EXPECT_FALSE(h.run_one("w", StepStatus::Completed).empty());
  EXPECT_EQ(h.build(id).record.status, BuildStatus::Completed);
}

TEST(State, RevokingATokenEndsItsSessions) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const std::string id = h.state().view_registration_tokens("default", {}, 1).value().at(0).id;
  const auto fresh = h.ask<State::NewToken>([&](State& s, auto reply, Moment now) {
    s.create_registration_token({"default", seconds(60), "", ""}, "test", std::move(reply), now);
  });
  h.pass(seconds(61));
  EXPECT_FALSE(h.register_worker("w").ok()) << "the old token has expired";
  EXPECT_FALSE(h.poll("w")->answered()) << "but its session goes on";
  ASSERT_TRUE(h.ask<void>([&](State& s, auto reply, Moment now) {
                 s.revoke_registration_token(id, "test", std::move(reply), now);
               }).ok());
  const auto slot = h.poll("w");
  ASSERT_TRUE(slot->answered());
  EXPECT_EQ(slot->answer->error().code(), Code::Unauthenticated);
  h.registration_token = fresh.value().token;
  EXPECT_TRUE(h.register_worker("w").ok());
}

TEST(State, AReferenceWorkerTakesOverItsNameAndTwoAreShown) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w", "").ok());
  h.poll("w", {}, "");
  ASSERT_TRUE(h.register_worker("w", "").ok());
  EXPECT_FALSE(h.poll("w", {}, "")->answered());
}

TEST(State, ADrainingWorkerGetsStopOrdersAndNothingNew) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto first = h.submit({h.task(0, "a")});
  const auto assigned = h.poll("w")->tasks().at(0);
  ASSERT_TRUE(h.started("w", h.of(assigned)).ok());
  h.submit({h.task(0, "b")});
  h.draining = true;
  const auto slot = h.poll("w", {"1"});
  ASSERT_TRUE(h.finished(h.of(assigned), StepStatus::Completed).ok());
  EXPECT_EQ(h.build(first).record.status, BuildStatus::Completed);
  ASSERT_TRUE(h.stopped("w", h.of(assigned)).ok());
  EXPECT_FALSE(slot->answered());
  h.draining = false;
  EXPECT_EQ(h.poll("w")->tasks().size(), 1U);
}

TEST(State, PriorityDecidesAmongWaitingBuilds) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  h.submit({h.task(0, "low")});
  h.submit({h.task(0, "high")}, 5);
  EXPECT_EQ(h.run_one("w", StepStatus::Completed), "2");
  EXPECT_EQ(h.run_one("w", StepStatus::Completed), "1");
}

TEST(State, FinishedBuildsLeaveMemoryButNotTheStore) {
  Timing timing;
  timing.finished_builds_kept = 2;
  StateHarness h(timing);
  ASSERT_TRUE(h.register_worker("w").ok());
  for (int i = 0; i < 5; ++i) {
    h.submit({h.task(0, "a")});
    h.run_one("w", StepStatus::Completed);
  }
  EXPECT_FALSE(h.state().view_build(model::BuildId{1}).ok());
  EXPECT_TRUE(h.state().view_build(model::BuildId{5}).ok());
  EXPECT_EQ(h.build(model::BuildId{1}).tasks.at(0).status, TaskStatus::Completed);
  // And come back when one of their tasks is to run again.
  h.state().adopt_build(*h.store.read_build(model::BuildId{1}).value(), h.moment());
  ASSERT_TRUE(h.ask<model::TaskId>([&](State& s, auto reply, Moment now) {
                 s.rerun_task(model::TaskId{1}, "test", std::move(reply), now);
               }).ok());
  EXPECT_EQ(h.run_one("w", StepStatus::Completed), "6");
}

}  // namespace cirrus::controller::core
