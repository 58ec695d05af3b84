// SPDX-License-Identifier: MIT
// A whole controller in this process, spoken to over its real ports.
#pragma once

#include <memory>
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

class ControllerTest : public testing::Test {
 protected:
  void SetUp() override { start(); }

  void start() {
    ControllerOptions options;
    options.data_dir = directory_.path() / "data";
    options.rpc_address = "127.0.0.1:0";
    options.http_address = "127.0.0.1:0";
    change(options);
    auto started = Controller::start(options, system_clock());
    ASSERT_TRUE(started.ok()) << started.error().to_string();
    controller_ = std::move(started).value();
    admin_token_ = token(controller_->admin_token_file());
  }
  /// For what a suite wants otherwise.
  virtual void change(ControllerOptions& options) { static_cast<void>(options); }
  void restart() {
    controller_.reset();
    start();
  }
  static std::string token(const std::filesystem::path& file) {
    return std::string(trim(os::read_file(file).value()));
  }
  net::HttpResponse call(const std::string& method, const std::string& path,
                         const nlohmann::json& body = {}, const std::string& bearer = {}) {
    net::HttpRequest request;
    request.method = method;
    request.url = controller_->http_url() + path;
    request.headers = {{"Authorization", "Bearer " + (bearer.empty() ? admin_token_ : bearer)}};
    if (!body.is_null()) request.body = body.dump();
    const auto response = net::HttpClient().send(request);
    EXPECT_TRUE(response.ok()) << response.error().to_string();
    return response.ok() ? response.value() : net::HttpResponse{};
  }
  nlohmann::json get(const std::string& path) {
    return nlohmann::json::parse(call("GET", path).body);
  }
  nlohmann::json submit(const std::string& config,
                        const nlohmann::json& more = nlohmann::json::object()) {
    nlohmann::json body = more;
    body["config"] = config;
    const net::HttpResponse response = call("POST", "/api/v1/builds", body);
    EXPECT_EQ(response.status, 201) << response.body;
    return response.status == 201 ? nlohmann::json::parse(response.body)["build"]
                                  : nlohmann::json();
  }
  ScriptedWorker worker(const std::string& name = "w1") {
    return ScriptedWorker(controller_->rpc_endpoint(),
                          token(controller_->registration_token_file()), name);
  }
  ScriptedAgent agent(const api::PollResponse::AgentAwareTask& task) {
    return ScriptedAgent(controller_->rpc_endpoint(), task.task_id(), task.client_secret());
  }

  os::TempDir directory_ = os::TempDir::create("controller-test").value();
  std::unique_ptr<Controller> controller_;
  std::string admin_token_;
};

}  // namespace cirrus::controller
