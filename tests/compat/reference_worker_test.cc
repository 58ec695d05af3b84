// SPDX-License-Identifier: MIT
// A reference worker's conversations. Source: protocol §4, §5, §12, §17.
#include <future>

#include "controller/testing/controller_fixture.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;
using Assigned = api::PollResponse::AgentAwareTask;

constexpr const char* kConfig = "task:\n  persistent_worker: {}\n  main_script: true\n";

class ReferenceWorker : public ControllerTest {
 protected:
  std::string status_of(const Assigned& task) {
    return get("/api/v1/tasks/" + task.task_id())["task"]["status"];
  }
  /// The newest attempt of the first task of the build.
  json latest(const json& build) {
    return get("/api/v1/builds/" + build["id"].get<std::string>())["build"]["tasks"][0];
  }
  /// Polls until something is assigned; reference workers are held for up to 20 s.
  Assigned take(ScriptedWorker& w) {
    for (int i = 0; i < 10; ++i) {
      api::PollResponse response;
      EXPECT_TRUE(w.poll(response, 60).ok());
      if (response.tasks_to_start_size() > 0) return response.tasks_to_start(0);
    }
    ADD_FAILURE() << "nothing was assigned";
    return {};
  }
  /// As the reference: TaskStarted, the agent, TaskStopped.
  void run(ScriptedWorker& w, const Assigned& task, api::Status end = api::COMPLETED) {
    EXPECT_TRUE(w.started(task).ok());
    EXPECT_TRUE(agent(task).finished({{"main", end}}).ok());
    EXPECT_TRUE(w.stopped(task).ok());
  }
};
}  // namespace

TEST_F(ReferenceWorker, RegistersWithoutMetadataAndIsNamedByItsLabel) {
  const auto stub = api::CirrusWorkersService::NewStub(channel_to(controller_->rpc_endpoint()));
  grpc::ClientContext context;
  api::RegisterRequest request;
  request.set_registration_token(token(controller_->registration_token_file()));
  (*request.mutable_worker_info()->mutable_labels())["name"] = "mac-1";
  (*request.mutable_worker_info()->mutable_labels())["os"] = "darwin";
  api::RegisterResponse response;
  ASSERT_TRUE(stub->Register(&context, request, &response).ok());
  EXPECT_FALSE(response.session_token().empty());
  EXPECT_EQ(get("/api/v1/workers/default/mac-1")["worker"]["labels"]["os"], "darwin");
}

TEST_F(ReferenceWorker, AnAssignmentIsWhatItUnderstands) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit(kConfig);
  submit("task:\n  persistent_worker:\n    isolation:\n      none: {}\n  main_script: true\n");
  const Assigned first = take(w);
  EXPECT_EQ(first.task_id(), std::to_string(first.old_task_id()));
  EXPECT_FALSE(first.has_isolation()) << "nothing at all, or a set member";
  EXPECT_FALSE(first.has_cirrus_commands()) << "nothing of ours";
  EXPECT_NE(first.client_secret(), first.server_secret());
  run(w, first);
  const Assigned second = take(w);
  EXPECT_TRUE(second.isolation().has_none());
  EXPECT_NE(second.client_secret(), first.client_secret());
  run(w, second);
}

TEST_F(ReferenceWorker, NeverRegistersAgainAndNeedNot) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const std::string session = w.session_token;
  restart();
  submit(kConfig);
  ScriptedWorker same(controller_->rpc_endpoint(), token(controller_->registration_token_file()),
                      "w1");
  same.session_token = session;
  run(same, take(same));
  // Of a server it has never seen: the pool's token and its name are enough.
  submit(kConfig);
  same.session_token = "of-another-server";
  run(same, take(same));
  // A stateless server hands out empty sessions.
  submit(kConfig);
  same.session_token = "";
  run(same, take(same));
}

TEST_F(ReferenceWorker, ALostAnswerOfPollIsFoundOutByItsLists) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const json build = submit(kConfig);
  const Assigned lost = take(w);  // and the answer never arrived
  const Assigned again = take(w);
  EXPECT_NE(again.task_id(), lost.task_id()) << "a known id would be ignored";
  EXPECT_NE(again.client_secret(), lost.client_secret());
  run(w, again);
  EXPECT_EQ(latest(build)["status"], "completed");
  // The first attempt's words are taken and dropped.
  EXPECT_TRUE(agent(lost).finished({{"main", api::FAILED}}).ok());
  EXPECT_EQ(latest(build)["status"], "completed");
}

TEST_F(ReferenceWorker, ALostFinalReportIsMadeUpFromStepsAndLists) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const json build = submit(kConfig);
  const Assigned task = take(w);
  ASSERT_TRUE(w.started(task).ok());
  ASSERT_TRUE(agent(task).update({{"main", api::EXECUTING}}).ok());
  ASSERT_TRUE(agent(task).update({{"main", api::COMPLETED}}).ok());
  w.running = {task.task_id()};
  api::PollResponse response;
  EXPECT_FALSE(w.poll(response, 1).ok()) << "held: nothing is wrong";
  w.running.clear();  // ReportAgentFinished and TaskStopped were both lost
  submit(kConfig);
  run(w, take(w));
  EXPECT_EQ(latest(build)["status"], "completed");
  EXPECT_EQ(latest(build)["attempt"], 1);
}

TEST_F(ReferenceWorker, TheEndMayComeInAnyOrder) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  // TaskStopped overtakes the final report: the steps say how it ended.
  submit(kConfig);
  const Assigned overtaken = take(w);
  ASSERT_TRUE(w.started(overtaken).ok());
  ASSERT_TRUE(agent(overtaken).update({{"main", api::COMPLETED}}).ok());
  ASSERT_TRUE(w.stopped(overtaken).ok());
  EXPECT_EQ(status_of(overtaken), "completed");
  EXPECT_TRUE(agent(overtaken).finished({{"main", api::COMPLETED}}).ok());
  EXPECT_TRUE(w.stopped(overtaken).ok());
  // A false alarm after a final result changes nothing.
  submit(kConfig);
  const Assigned alarmed = take(w);
  ASSERT_TRUE(w.started(alarmed).ok());
  ASSERT_TRUE(agent(alarmed).finished({{"main", api::COMPLETED}}).ok());
  ASSERT_TRUE(w.failed(alarmed, "ssh: exit status is lost").ok());
  ASSERT_TRUE(w.stopped(alarmed).ok());
  EXPECT_EQ(status_of(alarmed), "completed");
  // An agent that died says nothing; its worker does.
  submit(kConfig);
  const Assigned died = take(w);
  ASSERT_TRUE(w.started(died).ok());
  ASSERT_TRUE(agent(died).update({{"main", api::EXECUTING}}).ok());
  ASSERT_TRUE(w.stopped(died).ok());
  EXPECT_EQ(status_of(died), "failed");
}

TEST_F(ReferenceWorker, AnAgentWithNothingToRunLeavesSilentlyAndThatIsSuccess) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit("task:\n  persistent_worker: {}\n");
  const Assigned task = take(w);
  ASSERT_TRUE(w.started(task).ok());
  api::CommandsResponse commands;
  ASSERT_TRUE(agent(task).initial_commands(commands).ok());
  EXPECT_EQ(commands.commands_size(), 0);
  ASSERT_TRUE(w.stopped(task).ok());
  EXPECT_EQ(status_of(task), "completed");
}

TEST_F(ReferenceWorker, AGhostItListsForEverKeepsNothingFromIt) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit(kConfig);
  const Assigned ghost = take(w);
  // It could not make the instance: no TaskStarted, no TaskStopped, and the id stays listed.
  ASSERT_TRUE(w.failed(ghost, "isolation is not allowed").ok());
  EXPECT_EQ(status_of(ghost), "failed");
  w.running = {ghost.task_id()};
  submit(kConfig);
  bool told = false;
  Assigned next;
  for (int i = 0; i < 5 && next.task_id().empty(); ++i) {
    api::PollResponse response;
    ASSERT_TRUE(w.poll(response, 60).ok());
    for (const std::string& id : response.tasks_to_stop()) told = told || id == ghost.task_id();
    if (response.tasks_to_start_size() > 0) next = response.tasks_to_start(0);
  }
  EXPECT_FALSE(next.task_id().empty()) << "its room is not booked";
  EXPECT_TRUE(told) << "it is told to let go";
  w.running = {ghost.task_id(), next.task_id()};
  run(w, next);
}

TEST_F(ReferenceWorker, AVetoOfTaskStartedIsAnError) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit(kConfig);
  const Assigned task = take(w);
  call("POST", "/api/v1/tasks/" + task.task_id() + "/cancel");
  EXPECT_EQ(w.started(task).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  // It drops the task and says nothing more: the next list is without it, and work goes on.
  submit(kConfig);
  run(w, take(w));
}

TEST_F(ReferenceWorker, ACancelledTaskIsStoppedThroughThePoll) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit(kConfig);
  const Assigned task = take(w);
  ASSERT_TRUE(w.started(task).ok());
  w.running = {task.task_id()};
  api::PollResponse response;
  std::future<grpc::Status> held =
      std::async(std::launch::async, [&] { return w.poll(response, 60); });
  call("POST", "/api/v1/tasks/" + task.task_id() + "/cancel");
  ASSERT_TRUE(held.get().ok());
  if (response.tasks_to_stop_size() == 0) {  // the cancel was faster than the poll
    ASSERT_TRUE(w.poll(response, 60).ok());
  }
  ASSERT_EQ(response.tasks_to_stop_size(), 1);
  EXPECT_EQ(response.tasks_to_stop(0), task.task_id());
  EXPECT_EQ(response.old_task_ids_to_stop(0), task.old_task_id());
  EXPECT_FALSE(response.shutdown()) << "never to a busy worker";
  // Its agent retries for ever: an error, and the worker is told once more.
  api::CommandsResponse commands;
  EXPECT_FALSE(agent(task).initial_commands(commands).ok());
  ASSERT_TRUE(w.stopped(task).ok());
  EXPECT_EQ(status_of(task), "aborted");
}

TEST_F(ReferenceWorker, PausesByTokenAndNameAndWaitsForItsTasks) {
  ScriptedWorker w = worker();
  api::WorkerStatus status;
  EXPECT_EQ(w.update_status(true, status).error_code(), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(w.register_now().ok());
  submit(kConfig);
  const Assigned task = take(w);
  ASSERT_TRUE(w.update_status(true, status).ok());
  EXPECT_TRUE(status.disabled());
  api::QueryRunningTasksResponse running;
  ASSERT_TRUE(w.query_running(running).ok());
  ASSERT_EQ(running.running_tasks_size(), 1) << "assigned, not started";
  EXPECT_EQ(running.running_tasks(0), task.task_id());
  EXPECT_EQ(running.old_running_tasks(0), task.old_task_id());
  ASSERT_TRUE(w.started(task).ok());
  ASSERT_TRUE(w.failed(task, "broken").ok());
  ASSERT_TRUE(w.query_running(running).ok());
  EXPECT_EQ(running.running_tasks_size(), 1) << "between TaskFailed and TaskStopped";
  ASSERT_TRUE(w.stopped(task).ok());
  ASSERT_TRUE(w.query_running(running).ok());
  EXPECT_EQ(running.running_tasks_size(), 0);
  EXPECT_TRUE(running.status().disabled());
}

TEST_F(ReferenceWorker, AHeldPollEndsWhenItsWorkerHasSomethingToHarvest) {
  ScriptedWorker w = worker();
  w.resources = {{"cpu", 2}};
  ASSERT_TRUE(w.register_now().ok());
  submit("task:\n  persistent_worker:\n    resources: {cpu: 1}\n  main_script: true\n");
  const Assigned task = take(w);
  ASSERT_TRUE(w.started(task).ok());
  w.running = {task.task_id()};
  api::PollResponse response;
  std::future<grpc::Status> held =
      std::async(std::launch::async, [&] { return w.poll(response, 60); });
  // The poll is parked once the worker counts as connected with a fresh list.
  ASSERT_TRUE(agent(task).finished({{"main", api::COMPLETED}}).ok());
  ASSERT_TRUE(w.stopped(task).ok());
  ASSERT_TRUE(held.get().ok());
  EXPECT_GE(response.poll_interval_in_seconds(), 1U);
  EXPECT_LE(response.poll_interval_in_seconds(), 3600U);
}

TEST_F(ReferenceWorker, LabelsAndResourcesOfEveryPollCount) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit("task:\n  persistent_worker:\n    labels: {gpu: yes-please}\n  main_script: true\n");
  api::PollResponse response;
  EXPECT_FALSE(w.poll(response, 1).ok()) << "held: no such label";
  w.labels["gpu"] = "yes-please";
  run(w, take(w));
}

TEST_F(ReferenceWorker, RepeatedReportsChangeNothing) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit(kConfig);
  const Assigned task = take(w);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(w.started(task).ok());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(agent(task).update({{"main", api::EXECUTING}}).ok());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(agent(task).finished({{"main", api::COMPLETED}}).ok());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(w.stopped(task).ok());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(w.failed(task, "late").ok());
  EXPECT_EQ(w.started(task).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status_of(task), "completed");
}

}  // namespace cirrus::controller
