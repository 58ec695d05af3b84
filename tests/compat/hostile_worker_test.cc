// SPDX-License-Identifier: MIT
// Peers that forge who they are and flood what they may reach.
#include "controller/testing/controller_fixture.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;
using Assigned = api::PollResponse::AgentAwareTask;

constexpr const char* kConfig = "task:\n  persistent_worker: {}\n  main_script: true\n";

class HostileWorker : public ControllerTest {
 protected:
  Assigned take(ScriptedWorker& w) {
    submit(kConfig);
    api::PollResponse response;
    EXPECT_TRUE(w.poll(response, 60).ok());
    return response.tasks_to_start_size() == 1 ? response.tasks_to_start(0) : Assigned();
  }
  std::size_t audited(const std::string& action) {
    return get("/api/v1/audit?limit=1000&action=" + action)["audit"].size();
  }
};

class T09_ForgedIdentity : public HostileWorker {};
class T10_HostileTraffic : public HostileWorker {};
}  // namespace

TEST_F(T09_ForgedIdentity, AnotherWorkersSessionNameAndTasksAreOutOfReach) {
  ScriptedWorker victim = worker("victim");
  victim.instance = "a";
  ASSERT_TRUE(victim.register_now().ok());
  const Assigned task = take(victim);
  ASSERT_TRUE(victim.started(task).ok());

  // A session says whose it is; the header does not.
  ScriptedWorker thief = worker("thief");
  thief.instance = "b";
  ASSERT_TRUE(thief.register_now().ok());
  ScriptedWorker forger = worker("victim");
  forger.instance = "b";
  forger.session_token = thief.session_token;
  api::PollResponse response;
  EXPECT_EQ(forger.poll(response, 5).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(audited("worker.name.forged"), 1U);
  // Its own session does not reach another one's task, even with the task's id.
  EXPECT_EQ(thief.stopped(task).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(thief.failed(task, "mine now").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(audited("task.foreign"), 1U) << "once a minute, however often";
  EXPECT_NE(get("/api/v1/tasks/" + task.task_id())["task"]["status"], "failed");
  // The task's fields in the body mean nothing: only metadata identifies.
  grpc::ClientContext context;
  api::HeartbeatRequest beat;
  beat.mutable_task_identification()->set_task_id(task.old_task_id());
  beat.mutable_task_identification()->set_secret(task.client_secret());
  api::HeartbeatResponse none;
  const auto stub = api::CirrusCIService::NewStub(channel_to(controller_->rpc_endpoint()));
  EXPECT_EQ(stub->Heartbeat(&context, beat, &none).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(agent(task).heartbeat().ok());
}

TEST_F(T09_ForgedIdentity, APoolsTokenReachesItsOwnPoolOnly) {
  ASSERT_EQ(call("POST", "/api/v1/pools", {{"name", "other"}}).status, 202);
  const std::string foreign =
      json::parse(call("POST", "/api/v1/pools/other/tokens", json::object()).body)["token"];
  ScriptedWorker victim = worker("victim");
  ASSERT_TRUE(victim.register_now().ok());
  const Assigned task = take(victim);
  ASSERT_TRUE(victim.started(task).ok());
  ScriptedWorker namesake(controller_->rpc_endpoint(), foreign, "victim");
  ASSERT_TRUE(namesake.register_now().ok()) << "a worker of its own pool, of the same name";
  EXPECT_EQ(namesake.stopped(task).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  api::WorkerStatus status;
  ASSERT_TRUE(namesake.update_status(true, status).ok());
  EXPECT_EQ(get("/api/v1/workers/default/victim")["worker"]["disabled"], false);
  EXPECT_EQ(get("/api/v1/workers/other/victim")["worker"]["disabled"], true);
}

TEST_F(T09_ForgedIdentity, AnOlderAttemptsSecretIsWorthless) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const Assigned old = take(w);
  ASSERT_TRUE(w.started(old).ok());
  call("POST", "/api/v1/tasks/" + old.task_id() + "/cancel");
  ASSERT_TRUE(w.stopped(old).ok());
  const net::HttpResponse again = call("POST", "/api/v1/tasks/" + old.task_id() + "/rerun");
  const std::string fresh = json::parse(again.body)["id"];
  ScriptedAgent mixed(controller_->rpc_endpoint(), fresh, old.client_secret());
  EXPECT_EQ(mixed.heartbeat().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(mixed.stream("main", {"x"}).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  std::string content;
  EXPECT_EQ(agent(old).read_cache("k", content).error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(T10_HostileTraffic, WritesToTasksItDoesNotHoldAreRefused) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const Assigned task = take(w);
  for (const std::string& id : {std::string("999"), task.task_id()}) {
    ScriptedAgent stranger(controller_->rpc_endpoint(), id, "guess");
    EXPECT_FALSE(stranger.stream("main", {"x"}).ok());
    EXPECT_FALSE(stranger.save("main", {"x"}).ok());
    EXPECT_FALSE(stranger.update({{"main", api::FAILED}}).ok());
    EXPECT_FALSE(stranger.finished({{"main", api::FAILED}}).ok());
    EXPECT_FALSE(stranger.upload_artifacts("a", {{"b", "c"}}).ok());
    EXPECT_FALSE(stranger.heartbeat().ok());
  }
  EXPECT_EQ(get("/api/v1/tasks/" + task.task_id())["task"]["status"], "scheduled");
}

TEST_F(T10_HostileTraffic, AMessageBeyondTheLimitEndsItsCallAndNothingElse) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const Assigned task = take(w);
  ASSERT_TRUE(w.started(task).ok());
  EXPECT_EQ(agent(task).stream("main", {std::string(80U << 20U, 'x')}).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(agent(task).stream("main", {"still here\n"}).ok());
  EXPECT_TRUE(agent(task).finished({{"main", api::COMPLETED}}).ok());
}

TEST_F(T10_HostileTraffic, AFloodOfForgedReportsDoesNotFillTheStore) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  ScriptedWorker attacker = worker("attacker");
  ASSERT_TRUE(attacker.register_now().ok());
  const Assigned task = take(w);
  ASSERT_TRUE(w.started(task).ok());
  api::WorkerStatus status;
  const auto flood = [&](int rounds) {
    for (int i = 0; i < rounds; ++i) {
      EXPECT_FALSE(attacker.stopped(task).ok());
      ScriptedWorker(controller_->rpc_endpoint(), "guess", "attacker").register_now();
      EXPECT_TRUE(attacker.update_status(i % 2 == 0, status).ok());
      attacker.running.assign(200, std::to_string(100'000 + i));
      api::PollResponse response;
      attacker.poll(response, 60);  // told to stop what it made up
    }
  };
  flood(40);
  const auto before = std::filesystem::file_size(directory_.path() / "data" / "controller.db");
  const std::size_t entries = audited("");
  flood(40);
  // At most the remaining entries of this minute's allowance, however long it goes on.
  EXPECT_LE(audited(""), entries + 4);
  EXPECT_LE(std::filesystem::file_size(directory_.path() / "data" / "controller.db"),
            before + (1U << 20U));
  EXPECT_TRUE(agent(task).finished({{"main", api::COMPLETED}}).ok()) << "others work on";
}

}  // namespace cirrus::controller
