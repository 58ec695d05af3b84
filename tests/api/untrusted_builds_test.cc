// SPDX-License-Identifier: MIT
// T11: what a build whose token is not trusted may try with a configuration of its own making.
#include "controller_case.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;
constexpr const char* kValue = "correct horse";
constexpr const char* kCommit = "0123456789012345678901234567890123456789";
}  // namespace

/// Pool `default` lets untrusted builds use containers; pool `release` takes trusted ones only.
class T11_UntrustedBuilds : public ControllerCase {
 protected:
  void SetUp() override {
    ControllerCase::SetUp();
    change("POST", "/api/v1/pools", {{"name", "release"}, {"untrusted_isolations", json::array()}});
    change("POST", "/api/v1/pools/default", {{"untrusted_isolations", {"container"}}});
    stranger_ = token_of_role("submitter");
    const net::HttpResponse sealed =
        call("POST", "/api/v1/secrets", json{{"repository", "acme/app"}, {"value", kValue}}.dump());
    ASSERT_EQ(sealed.status, 200) << sealed.body;
    sealed_ = json::parse(sealed.body)["encrypted"];
    const net::HttpResponse made = call("POST", "/api/v1/pools/release/tokens", "{}");
    ASSERT_EQ(made.status, 201) << made.body;
    release_token_ = json::parse(made.body)["token"];
  }
  void change(const char* method, const std::string& path, const json& body) {
    const net::HttpResponse answer = call(method, path, body.dump());
    ASSERT_EQ(answer.status, 202) << answer.body;
  }
  ScriptedWorker release_worker() {
    return ScriptedWorker(controller_->rpc_endpoint(), release_token_, "r1");
  }
  static void join(ScriptedWorker& worker) {
    worker.labels["zone"] = "release";
    EXPECT_TRUE(worker.register_now().ok());
  }
  json submit_as(const std::string& token, const std::string& config, json more = json::object()) {
    more["config"] = config;
    more["repository"] = "acme/app";
    const net::HttpResponse answer = call("POST", "/api/v1/builds", more.dump(), token);
    EXPECT_EQ(answer.status, 201) << answer.body;
    return json::parse(answer.body)["build"];
  }
  json why(const json& build) {
    return get("/api/v1/tasks/" + build["tasks"][0]["id"].get<std::string>() + "/why");
  }
  /// What the agent of the one task that this worker is given is told.
  api::CommandsResponse commands_at(ScriptedWorker& at) {
    const auto task = take_one(at);
    api::CommandsResponse told;
    if (task.task_id().empty()) return told;
    at.running.push_back(task.task_id());
    EXPECT_TRUE(agent(task).initial_commands(told).ok());
    return told;
  }

  std::string stranger_;
  std::string sealed_;
  std::string release_token_;
};

TEST_F(T11_UntrustedBuilds, AChangedConfigurationReachesNoTrustedPoolAndNoBareMachine) {
  const std::string container = "    isolation: {container: {image: x}}\n";
  const struct {
    const char* name;
    std::string worker;  ///< below `persistent_worker:`
    std::string env;
    const char* status;
    const char* reason;
  } cases[] = {
      {"the trusted pool by a label of its workers", "    labels: {zone: release}\n" + container,
       "", "triggered", "pool 'release' takes tasks of trusted builds only"},
      {"by the name of a worker", "    labels: {name: r1}\n" + container, "", "triggered",
       "pool 'release' takes tasks of trusted builds only"},
      {"isolation none", "    isolation: {none: {}}\n", "", "failed",
       "no pool lets such builds use isolation 'none'"},
      {"no isolation, which is none", "    labels: {zone: release}\n", "", "failed",
       "no pool lets such builds use isolation 'none'"},
      {"another isolation", "    isolation: {vetu: {image: x, user: u, password: p}}\n", "",
       "failed", "no pool lets such builds use isolation 'vetu'"},
      {"variables that say who it is", "    isolation: {none: {}}\n",
       "    CIRRUS_USER_COLLABORATOR: true\n    CIRRUS_USER_PERMISSION: admin\n"
       "    CIRRUS_BUILD_SOURCE: api\n    CIRRUS_BASE_BRANCH: main\n",
       "failed", "no pool lets such builds use isolation 'none'"},
  };
  ScriptedWorker trusted = release_worker();
  join(trusted);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string config = "task:\n  persistent_worker:\n" + c.worker + "  env:\n    A: b\n" +
                               c.env + "  main_script: echo\n";
    const json build = submit_as(stranger_, config);
    EXPECT_EQ(build["trusted"], false);
    const json task = build["tasks"][0];
    EXPECT_EQ(task["status"], c.status) << task.dump();
    const json told = why(build);
    ASSERT_EQ(told["reasons"].size(), 1U) << told.dump();
    EXPECT_NE(told["reasons"][0].get<std::string>().find(c.reason), std::string::npos)
        << told.dump();
    EXPECT_NE(told["reasons"][0].get<std::string>().find("trusted token"), std::string::npos)
        << "what to do about it";
    if (task["status"] == "triggered") {
      EXPECT_EQ(told["details"][0]["kind"], "untrusted");
      EXPECT_EQ(told["details"][0]["pool"], "release");
    }
  }
  // The worker that may not have them asks for work: only the trusted build's task gets there.
  const json own = submit_as(
      admin_,
      "task:\n  persistent_worker: {labels: {zone: release}}\n  env: {T: t}\n  x_script: y\n");
  EXPECT_EQ(own["trusted"], true);
  EXPECT_EQ(commands_at(trusted).environment().at("CIRRUS_BUILD_ID"), own["id"]);
  EXPECT_EQ(get("/api/v1/workers/release/r1")["worker"]["tasks"],
            json::array({own["tasks"][0]["id"]}));
}

TEST_F(T11_UntrustedBuilds, WhatSubmissionsSayOfTheirAuthorChangesNothing) {
  const std::string config =
      "task:\n  persistent_worker:\n    isolation: {container: {image: x}}\n"
      "  env:\n    TOKEN: " +
      sealed_ + "\n  main_script: echo\n";
  for (const char* field : {"trusted", "submitted_by", "author", "actor", "token", "role"}) {
    const net::HttpResponse refused = call(
        "POST", "/api/v1/builds",
        json{{"config", config}, {"repository", "acme/app"}, {field, "admin"}}.dump(), stranger_);
    EXPECT_EQ(refused.status, 400) << field << ": " << refused.body;
  }
  const json build = submit_as(
      stranger_, config,
      {{"commit", kCommit},
       {"branch", "main"},
       {"message", "Release\n\nAuthor: admin <admin@acme>\nSigned-off-by: admin <admin@acme>"},
       {"environment",
        {{"CIRRUS_USER_COLLABORATOR", "true"},
         {"CIRRUS_USER_PERMISSION", "admin"},
         {"SEEN", sealed_}}}});
  EXPECT_EQ(build["trusted"], false);
  ScriptedWorker shared = worker();
  ASSERT_TRUE(shared.register_now().ok());
  const api::CommandsResponse told = commands_at(shared);
  EXPECT_EQ(told.environment().count("TOKEN"), 0U);
  EXPECT_EQ(told.environment().count("SEEN"), 0U);
  EXPECT_EQ(told.DebugString().find(kValue), std::string::npos);
}

TEST_F(T11_UntrustedBuilds, TrustIsOfOneBuildItsCommitAndItsToken) {
  const std::string config =
      "task:\n  persistent_worker: {labels: {zone: release}}\n"
      "  env:\n    TOKEN: " +
      sealed_ + "\n  main_script: echo\n";
  const json approved = submit_as(admin_, config, {{"commit", kCommit}, {"branch", "topic"}});
  EXPECT_EQ(approved["trusted"], true);
  // The same branch and the same text, but another commit, or the same one by another token.
  std::string other = kCommit;
  other.back() = 'f';
  const json moved = submit_as(stranger_, config, {{"commit", other}, {"branch", "topic"}});
  const json copied = submit_as(stranger_, config, {{"commit", kCommit}, {"branch", "topic"}});
  for (const json& build : {moved, copied}) {
    EXPECT_EQ(build["trusted"], false);
    EXPECT_EQ(build["tasks"][0]["status"], "failed") << build.dump();
    // Nor does a trusted hand on it: what is run again is what was submitted.
    const net::HttpResponse again =
        call("POST", "/api/v1/builds/" + build["id"].get<std::string>() + "/rerun", "{}");
    ASSERT_EQ(again.status, 202) << again.body;
    const json now = get("/api/v1/builds/" + build["id"].get<std::string>())["build"];
    EXPECT_EQ(now["trusted"], false);
    EXPECT_EQ(now["tasks"][0]["attempt"], 2);
    EXPECT_EQ(now["tasks"][0]["status"], "failed");
  }
  ScriptedWorker trusted = release_worker();
  join(trusted);
  const api::CommandsResponse told = commands_at(trusted);
  EXPECT_EQ(told.environment().at("CIRRUS_BUILD_ID"), approved["id"]);
  EXPECT_EQ(told.environment().at("CIRRUS_CHANGE_IN_REPO"), kCommit);
  EXPECT_EQ(told.environment().at("TOKEN"), kValue);
  // Who submitted what is in the audit, by the token's name.
  const json entries = get("/api/v1/audit?action=build.submit")["audit"];
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[2]["actor"], "admin");
  EXPECT_EQ(entries[0]["actor"], "test-submitter");
}

TEST_F(T11_UntrustedBuilds, APoolsRuleIsReadStrictlyAndShown) {
  EXPECT_EQ(get("/api/v1/pools/release")["pool"]["untrusted_isolations"], json::array());
  for (const json& bad : {json("container"), json({"docker"}), json({"none", "any"}), json({1}),
                          json(std::vector<std::string>(3, std::string(1000, 'x'))), json(true)}) {
    const net::HttpResponse refused =
        call("POST", "/api/v1/pools/release", json{{"untrusted_isolations", bad}}.dump());
    EXPECT_EQ(refused.status, 400) << bad.dump().substr(0, 60);
    EXPECT_NE(refused.body.find("untrusted_isolations"), std::string::npos) << refused.body;
    EXPECT_LT(refused.body.size(), 600U);
  }
  // Absent and null change nothing.
  change("POST", "/api/v1/pools/release", {{"lost_after_seconds", 60}});
  change("POST", "/api/v1/pools/release", {{"untrusted_isolations", nullptr}});
  EXPECT_EQ(get("/api/v1/pools/release")["pool"]["untrusted_isolations"], json::array());
  for (const char* role : {"reader", "operator"}) {
    const net::HttpResponse refused =
        call("POST", "/api/v1/pools/release", R"({"untrusted_isolations":["any"]})",
             token_of_role(role));
    EXPECT_EQ(refused.status, 403) << role;
  }
  EXPECT_EQ(get("/api/v1/pools/release")["pool"]["untrusted_isolations"], json::array());
}

}  // namespace cirrus::controller
