// SPDX-License-Identifier: MIT
// A whole controller in the test's process, spoken to over its real ports.
#pragma once

#include <map>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "controller/controller.h"
#include "controller/rpc/testing/scripted_peer.h"
#include "net/http_client.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller {

class ControllerCase : public testing::Test {
 protected:
  using json = nlohmann::json;

  void SetUp() override {
    ControllerOptions options;
    options.data_dir = directory_.path() / "data";
    options.rpc_address = "127.0.0.1:0";
    options.http_address = "127.0.0.1:0";
    auto started = Controller::start(options, system_clock());
    ASSERT_TRUE(started.ok()) << started.error().to_string();
    controller_ = std::move(started).value();
    admin_ = first_token(controller_->admin_token_file());
  }

  static std::string first_token(const std::filesystem::path& file) {
    return std::string(trim(os::read_file(file).value()));
  }

  /// Sends and reads the answer. Of an event stream only what comes until `enough` is in it: those
  /// have no end of their own.
  net::HttpResponse call(const std::string& method, const std::string& path,
                         const std::string& body = {}, const std::string& bearer = {},
                         const std::string& enough = "\n\n") {
    net::HttpRequest request;
    request.method = method;
    request.url = controller_->http_url() + path;
    if (bearer != "-") {
      request.headers = {{"Authorization", "Bearer " + (bearer.empty() ? admin_ : bearer)}};
    }
    request.body = body;
    std::string received;
    auto response = net::HttpClient().stream(request, [&](std::string_view bytes) {
      received += bytes;
      const bool events = received.starts_with("id: ") || received.starts_with("event: ");
      return !events || received.find(enough) == std::string::npos;
    });
    EXPECT_TRUE(response.ok()) << method << " " << path << ": " << response.error().to_string();
    if (!response.ok()) return {};
    net::HttpResponse answer = std::move(response).value();
    if (answer.status < 300) answer.body = received;
    return answer;
  }
  json get(const std::string& path) { return json::parse(call("GET", path).body); }
  json submit(const std::string& config) {
    const net::HttpResponse response =
        call("POST", "/api/v1/builds", json{{"config", config}}.dump());
    EXPECT_EQ(response.status, 201) << response.body;
    return response.status == 201 ? json::parse(response.body)["build"] : json();
  }
  std::string token_of_role(const std::string& role) {
    const net::HttpResponse made =
        call("POST", "/api/v1/tokens",
             json{{"name", "test-" + role}, {"role", role}, {"repositories", {"*"}}}.dump());
    EXPECT_EQ(made.status, 201) << made.body;
    return json::parse(made.body)["token"];
  }
  ScriptedWorker worker(const std::string& name = "w1") {
    return ScriptedWorker(controller_->rpc_endpoint(),
                          first_token(controller_->registration_token_file()), name);
  }
  ScriptedAgent agent(const api::PollResponse::AgentAwareTask& task) {
    return ScriptedAgent(controller_->rpc_endpoint(), task.task_id(), task.client_secret());
  }

  os::TempDir directory_ = os::TempDir::create("controller-case").value();
  std::unique_ptr<Controller> controller_;
  std::string admin_;
};

}  // namespace cirrus::controller
