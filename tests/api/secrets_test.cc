// SPDX-License-Identifier: MIT
// Secrets through the whole controller: sealed by the API, opened for an agent, never shown.
#include "controller_case.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;
constexpr const char* kValue = "correct horse";
}  // namespace

class Secrets : public ControllerCase {
 protected:
  std::string seal(const std::string& repository) {
    const net::HttpResponse answer =
        call("POST", "/api/v1/secrets", json{{"repository", repository}, {"value", kValue}}.dump());
    EXPECT_EQ(answer.status, 200) << answer.body;
    return json::parse(answer.body)["encrypted"];
  }
  static std::string config_with(const std::string& sealed) {
    return "task:\n  persistent_worker: {}\n  env:\n    TOKEN: " + sealed +
           "\n    OLD: ENCRYPTED[4bd1ea2f]\n  main_script: deploy\n";
  }
  json submit_as(const std::string& token, const std::string& repository,
                 const std::string& config) {
    const net::HttpResponse answer =
        call("POST", "/api/v1/builds", json{{"config", config}, {"repository", repository}}.dump(),
             token);
    EXPECT_EQ(answer.status, 201) << answer.body;
    return json::parse(answer.body)["build"];
  }
  /// What the agent of the one waiting task is told.
  api::CommandsResponse commands() {
    ScriptedWorker w = worker();
    EXPECT_TRUE(w.register_now().ok());
    task_ = take_one(w);
    w.running = {task_.task_id()};
    api::CommandsResponse told;
    EXPECT_TRUE(agent(task_).initial_commands(told).ok());
    return told;
  }
  api::PollResponse::AgentAwareTask task_;
};

TEST_F(Secrets, AreOpenedForATrustedBuildAndMasked) {
  const std::string sealed = seal("acme/app");
  const json build = submit_as(admin_, "acme/app", config_with(sealed));
  EXPECT_EQ(build.dump().find(kValue), std::string::npos);
  ASSERT_EQ(build["issues"].size(), 1U) << build["issues"].dump();
  EXPECT_EQ(build["issues"][0]["level"], "warning");
  EXPECT_EQ(build["issues"][0]["line"], 5);
  EXPECT_EQ(build["issues"][0]["path"], ".cirrus.yml");
  EXPECT_NE(build["issues"][0]["message"].get<std::string>().find("'OLD'"), std::string::npos);
  const api::CommandsResponse told = commands();
  EXPECT_EQ(told.environment().at("TOKEN"), kValue);
  EXPECT_EQ(told.environment().count("OLD"), 0U) << "old files still run, without the variable";
  EXPECT_NE(std::find(told.secrets_to_mask().begin(), told.secrets_to_mask().end(), kValue),
            told.secrets_to_mask().end());
  // A reference agent's log is masked when it comes in.
  ASSERT_TRUE(agent(task_).stream("main", {"token is correct", " horse\n"}).ok());
  const std::string log = call("GET", "/api/v1/tasks/" + task_.task_id() + "/logs/main").body;
  EXPECT_EQ(log.find(kValue), std::string::npos) << log;
  EXPECT_NE(log.find("HIDDEN-BY-CIRRUS-CI"), std::string::npos) << log;
}

TEST_F(Secrets, AreNotOpenedForABuildWhoseTokenIsNotTrusted) {
  const json build =
      submit_as(token_of_role("submitter"), "acme/app", config_with(seal("acme/app")));
  EXPECT_EQ(build["issues"].size(), 2U);
  const api::CommandsResponse told = commands();
  EXPECT_EQ(told.environment().count("TOKEN"), 0U);
  EXPECT_EQ(told.DebugString().find(kValue), std::string::npos);
}

TEST_F(Secrets, AreOfOneRepositoryOnly) {
  const json build = submit_as(admin_, "acme/other", config_with(seal("acme/app")));
  EXPECT_EQ(build["issues"].size(), 2U);
  EXPECT_EQ(commands().environment().count("TOKEN"), 0U);
}

TEST_F(Secrets, AreNowhereInTheDataDirectory) {
  submit_as(admin_, "acme/app", config_with(seal("acme/app")));
  commands();
  ASSERT_TRUE(agent(task_).stream("main", {"correct horse\n"}).ok());
  controller_.reset();
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path())) {
    if (!entry.is_regular_file()) continue;
    ++files;
    EXPECT_EQ(os::read_file(entry.path()).value_or("").find(kValue), std::string::npos)
        << entry.path();
  }
  EXPECT_GT(files, 3U);
}

}  // namespace cirrus::controller
