// SPDX-License-Identifier: MIT
// Pools, tokens and the audit over the real ports.
#include "controller/testing/controller_fixture.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;

constexpr const char* kConfig = "task:\n  persistent_worker: {}\n  main_script: true\n";

class ControllerAdmin : public ControllerTest {
 protected:
  std::string make_token(const json& request) {
    const net::HttpResponse made = call("POST", "/api/v1/tokens", request);
    EXPECT_EQ(made.status, 201) << made.body;
    return json::parse(made.body).value("token", "");
  }
  long status(const std::string& method, const std::string& path, const std::string& bearer,
              const json& body = {}) {
    return call(method, path, body, bearer).status;
  }
};
}  // namespace

TEST_F(ControllerAdmin, EveryRoleDoesWhatItMayAndNoMore) {
  const std::string reader = make_token({{"name", "r"}, {"role", "reader"}});
  const std::string submitter =
      make_token({{"name", "s"}, {"role", "submitter"}, {"repositories", {"acme/*"}}});
  const std::string operating = make_token({{"name", "o"}, {"role", "operator"}});
  const json build = {{"config", kConfig}, {"repository", "acme/app"}};
  EXPECT_EQ(status("GET", "/api/v1/builds", reader), 200);
  EXPECT_EQ(status("POST", "/api/v1/builds", reader, build), 403);
  EXPECT_EQ(status("POST", "/api/v1/builds", submitter, build), 201);
  EXPECT_EQ(
      status("POST", "/api/v1/builds", submitter, {{"config", kConfig}, {"repository", "x/y"}}),
      403);
  EXPECT_EQ(status("POST", "/api/v1/builds/1/cancel", submitter), 202);
  submit(kConfig, {{"repository", "x/y"}});
  EXPECT_EQ(status("POST", "/api/v1/builds/2/cancel", submitter), 403);
  EXPECT_EQ(status("POST", "/api/v1/tasks/2/cancel", submitter), 403);
  EXPECT_EQ(status("POST", "/api/v1/pools/default/pause", submitter), 403);
  EXPECT_EQ(status("POST", "/api/v1/pools/default/pause", operating), 202);
  EXPECT_EQ(status("POST", "/api/v1/pools/default", operating, {{"paused", false}}), 403);
  EXPECT_EQ(status("POST", "/api/v1/pools/default", admin_token_, {{"paused", false}}), 202);
  EXPECT_EQ(status("GET", "/api/v1/tokens", operating), 403);
  EXPECT_EQ(status("GET", "/api/v1/audit", reader), 403);
  EXPECT_EQ(status("GET", "/api/v1/audit", operating), 200);
  EXPECT_EQ(status("POST", "/api/v1/tokens", operating, {{"name", "x"}, {"role", "reader"}}), 403);
}

TEST_F(ControllerAdmin, TokensAreListedWithoutSecretsAndRevoked) {
  const std::string token =
      make_token({{"name", "ci"}, {"role", "submitter"}, {"repositories", {"*"}}});
  EXPECT_EQ(call("POST", "/api/v1/tokens", {{"name", "x"}, {"role", "king"}}).status, 400);
  EXPECT_EQ(call("POST", "/api/v1/tokens", {{"name", "x"}, {"role", "submitter"}}).status, 400);
  EXPECT_EQ(call("POST", "/api/v1/tokens", {{"name", "ci"}, {"role", "reader"}}).status, 409);
  const std::string listed = call("GET", "/api/v1/tokens").body;
  EXPECT_EQ(listed.find(token), std::string::npos);
  std::string id;
  const json document = json::parse(listed);
  for (const json& entry : document["tokens"]) {
    if (entry["name"] == "ci") id = entry["id"];
  }
  ASSERT_FALSE(id.empty());
  EXPECT_EQ(status("GET", "/api/v1/builds", token), 200);
  EXPECT_EQ(status("POST", "/api/v1/tokens/" + id + "/revoke", admin_token_), 202);
  EXPECT_EQ(status("GET", "/api/v1/builds", token), 401);
  restart();
  EXPECT_EQ(status("GET", "/api/v1/builds", token), 401);
}

TEST_F(ControllerAdmin, ARotatedRegistrationTokenOverlaps) {
  const net::HttpResponse made =
      call("POST", "/api/v1/pools/default/tokens", {{"overlap_seconds", 3600}, {"note", "autumn"}});
  ASSERT_EQ(made.status, 201) << made.body;
  const std::string fresh = json::parse(made.body)["token"];
  ScriptedWorker old_token = worker("w1");
  EXPECT_TRUE(old_token.register_now().ok()) << "good until the overlap is over";
  ScriptedWorker new_token(controller_->rpc_endpoint(), fresh, "w2");
  ASSERT_TRUE(new_token.register_now().ok());
  const json tokens = get("/api/v1/registration-tokens?pool=default")["tokens"];
  ASSERT_EQ(tokens.size(), 2U);
  int expiring = 0;
  for (const json& token : tokens) expiring += token["expires_at"].is_null() ? 0 : 1;
  EXPECT_EQ(expiring, 1);
  EXPECT_EQ(call("GET", "/api/v1/pools/none").status, 404);
  EXPECT_EQ(call("POST", "/api/v1/pools/default/tokens", {{"overlap_seconds", -1}}).status, 400);
}

TEST_F(ControllerAdmin, TheAuditSaysWhoDidWhat) {
  submit(kConfig);
  ASSERT_EQ(call("POST", "/api/v1/pools", {{"name", "macs"}, {"lost_after_seconds", 60}}).status,
            202);
  EXPECT_EQ(call("POST", "/api/v1/pools", {{"name", "macs"}}).status, 409);
  EXPECT_EQ(call("POST", "/api/v1/pools", {{"name", "../x"}}).status, 400);
  EXPECT_EQ(get("/api/v1/pools/macs")["pool"]["lost_after_ms"], 60000);
  const json pools = get("/api/v1/audit?action=pool&actor=admin")["audit"];
  ASSERT_EQ(pools.size(), 1U);
  EXPECT_EQ(pools[0]["action"], "pool.create");
  EXPECT_EQ(pools[0]["subject"], "macs");
  const json newest = get("/api/v1/audit?limit=1")["audit"];
  ASSERT_EQ(newest.size(), 1U);
  const auto older =
      get("/api/v1/audit?limit=1&before=" + std::to_string(newest[0]["id"].get<int>()))["audit"];
  ASSERT_EQ(older.size(), 1U);
  EXPECT_EQ(older[0]["action"], "build.submit");
}

TEST_F(ControllerAdmin, WorkersAreShownCordonedAndTheirNamesMayHoldAnything) {
  ScriptedWorker w = worker("mac mini/1 ü");
  ASSERT_TRUE(w.register_now().ok());
  const std::string path = "/api/v1/workers/default/mac%20mini%2F1%20%C3%BC";
  EXPECT_EQ(get(path)["worker"]["name"], "mac mini/1 ü");
  EXPECT_EQ(call("POST", path + "/cordon").status, 202);
  EXPECT_EQ(get(path)["worker"]["disabled"], true);
  EXPECT_EQ(call("POST", path + "/uncordon").status, 202);
  EXPECT_EQ(call("POST", "/api/v1/workers/default/none/cordon").status, 404);
  EXPECT_EQ(call("GET", "/api/v1/workers/default/none").status, 404);
}

TEST_F(ControllerAdmin, ABuildRunsAgainWhereItFailedAlsoAfterItLeftMemory) {
  const std::string id = submit(kConfig)["id"];
  EXPECT_EQ(call("POST", "/api/v1/builds/" + id + "/rerun").status, 409);
  ASSERT_EQ(call("POST", "/api/v1/builds/" + id + "/cancel").status, 202);
  restart();
  const net::HttpResponse again = call("POST", "/api/v1/builds/" + id + "/rerun");
  ASSERT_EQ(again.status, 202) << again.body;
  EXPECT_EQ(json::parse(again.body)["tasks"], json::array({"2"}));
  EXPECT_EQ(get("/api/v1/builds/" + id)["build"]["tasks"][0]["attempt"], 2);
  EXPECT_EQ(call("POST", "/api/v1/builds/99/rerun").status, 404);
}

TEST_F(ControllerAdmin, CachesOfUntrustedBuildsStayAmongThemselves) {
  const std::string fork =
      make_token({{"name", "fork"}, {"role", "submitter"}, {"repositories", {"acme/app"}}});
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const auto next = [&](const std::string& bearer) {
    const net::HttpResponse made =
        call("POST", "/api/v1/builds", {{"config", kConfig}, {"repository", "acme/app"}}, bearer);
    EXPECT_EQ(made.status, 201) << made.body;
    api::PollResponse response;
    EXPECT_TRUE(w.poll(response).ok());
    return response.tasks_to_start_size() == 1 ? response.tasks_to_start(0)
                                               : api::PollResponse::AgentAwareTask();
  };
  const auto end = [&](const api::PollResponse::AgentAwareTask& task) {
    EXPECT_TRUE(agent(task).finished({{"main", api::COMPLETED}}).ok());
    EXPECT_TRUE(w.stopped(task).ok());
  };
  const auto trusted = next(admin_token_);
  ASSERT_TRUE(agent(trusted).write_cache("deps-1", {"good"}).ok());
  end(trusted);
  // A pull request from a fork reads what the repository has, and may try to replace it.
  const auto attack = next(fork);
  std::string content;
  ASSERT_TRUE(agent(attack).read_cache("deps-1", content).ok());
  EXPECT_EQ(content, "good");
  ASSERT_TRUE(agent(attack).delete_cache("deps-1").ok());
  ASSERT_TRUE(agent(attack).write_cache("deps-1", {"evil"}).ok());
  ASSERT_TRUE(agent(attack).write_cache("deps-2", {"newer evil"}).ok());
  content.clear();
  ASSERT_TRUE(agent(attack).read_cache("deps-1", content).ok());
  EXPECT_EQ(content, "evil") << "it sees its own";
  end(attack);
  const auto after = next(admin_token_);
  content.clear();
  ASSERT_TRUE(agent(after).read_cache("deps-1", content).ok());
  EXPECT_EQ(content, "good");
  api::CacheInfoResponse info;
  ASSERT_TRUE(agent(after).cache_info("none", {"deps-"}, info).ok());
  EXPECT_EQ(info.info().key(), "deps-1") << "nor by a prefix";
  end(after);
}

TEST_F(ControllerAdmin, AFloodOfWrongTokensIsLimitedOnBothPorts) {
  int limited = 0;
  for (int i = 0; i < 30; ++i) {
    limited += call("GET", "/api/v1/builds", {}, "wrong").status == 429 ? 1 : 0;
  }
  EXPECT_EQ(limited, 10);
  EXPECT_EQ(call("GET", "/api/v1/builds").status, 200) << "a good token gets through";
  ScriptedWorker forged(controller_->rpc_endpoint(), "wrong", "w1");
  EXPECT_EQ(forged.register_now().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ScriptedWorker good = worker();
  EXPECT_TRUE(good.register_now().ok());
  EXPECT_EQ(get("/api/v1/audit?action=token.flood")["audit"].size(), 1U);
}

}  // namespace cirrus::controller
