// SPDX-License-Identifier: MIT
// Terminals of a reference agent: what it is told, how it offers one, and who gets to it.
// Source: protocol §4, §11.
#include "base/stop.h"
#include "controller/testing/controller_fixture.h"
#include "rpc/grpc/testing/scripted_host.h"
#include "rpc/shell_frames.h"

namespace cirrus::controller {

namespace {
using cirrus::rpc::input_frame;
using cirrus::rpc::size_frame;
using cirrus::rpc::testing::ScriptedGuest;
using cirrus::rpc::testing::ScriptedHost;
using cirrus::rpc::testing::ScriptedShell;
using grpc::StatusCode;
using nlohmann::json;
using Assigned = api::PollResponse::AgentAwareTask;

constexpr const char* kConfig =
    "task:\n  persistent_worker: {}\n  terminal_script: a\n  always:\n    last_script: b\n";

class ReferenceTerminal : public ControllerTest {
 protected:
  void SetUp() override {
    ControllerTest::SetUp();
    worker_.emplace(controller_->rpc_endpoint(), token(controller_->registration_token_file()),
                    "w1");
    ASSERT_TRUE(worker_->register_now().ok());
    submit(kConfig);
    const Assigned first = take_one(*worker_, 60);
    agent(first).finished({{"terminal", api::FAILED}, {"last", api::COMPLETED}});
    ASSERT_TRUE(worker_->stopped(first).ok());
    first_ = first.task_id();
  }
  /// The task once more, as somebody wants it who would like to look around.
  Assigned take_with_terminal() {
    const net::HttpResponse again =
        call("POST", "/api/v1/tasks/" + first_ + "/rerun", {{"terminal", true}});
    EXPECT_EQ(again.status, 202) << again.body;
    return take_one(*worker_, 60);
  }
  std::shared_ptr<grpc::Channel> channel() { return channel_to(controller_->rpc_endpoint()); }
  StatusCode attached(const Assigned& task, const std::string& locator, const std::string& secret) {
    const ScriptedAgent speaker = agent(task);
    grpc::ClientContext context;
    speaker.identify(context);
    api::ReportTerminalAttachedRequest request;
    request.set_locator(locator);
    request.set_trusted_secret(secret);
    api::ReportTerminalAttachedResponse response;
    return speaker.stub().ReportTerminalAttached(&context, request, &response).error_code();
  }
  StatusCode lifecycle(const Assigned& task, bool expiring) {
    const ScriptedAgent speaker = agent(task);
    grpc::ClientContext context;
    speaker.identify(context);
    api::ReportTerminalLifecycleRequest request;
    if (expiring) {
      request.mutable_expiring();
    } else {
      request.mutable_started();
    }
    api::ReportTerminalLifecycleResponse response;
    return speaker.stub().ReportTerminalLifecycle(&context, request, &response).error_code();
  }
  /// As a reference agent does it at its start; answers the locator.
  std::string attach(ScriptedHost& host, const Assigned& task) {
    host.say_hello("s3cret");
    std::string locator = host.locator();
    EXPECT_EQ(attached(task, locator, "s3cret"), StatusCode::OK);
    EXPECT_EQ(lifecycle(task, false), StatusCode::OK);
    return locator;
  }
  net::HttpResponse order(const Assigned& task, const std::string& bearer = {}) {
    return call("POST", "/api/v1/tasks/" + task.task_id() + "/shell",
                {{"columns", 100}, {"rows", 30}}, bearer);
  }
  std::string api_token(const std::string& role) {
    json wish = {{"name", role}, {"role", role}};
    if (role == "submitter") wish["repositories"] = {"*"};
    return json::parse(call("POST", "/api/v1/tokens", wish).body)["token"];
  }
  json audited(const std::string& action) {
    return get("/api/v1/audit?limit=1000&action=" + action)["audit"];
  }
  long type(const std::string& shell, const std::string& frames) {
    net::HttpRequest request;
    request.method = "POST";
    request.url = controller_->http_url() + "/api/v1/shells/" + shell + "/input";
    request.headers = {{"Authorization", "Bearer " + admin_token_}};
    request.body = frames;
    return net::HttpClient().send(request).value().status;
  }

  std::optional<ScriptedWorker> worker_;
  std::string first_;
};
}  // namespace

TEST_F(ReferenceTerminal, ItsAgentIsToldWhereAndWaitsAtTheEnd) {
  const Assigned task = take_with_terminal();
  api::CommandsResponse commands;
  ASSERT_TRUE(agent(task).initial_commands(commands).ok());
  ASSERT_EQ(commands.commands_size(), 3);
  const api::Command& last = commands.commands(2);
  EXPECT_EQ(last.name(), "terminal-2") << "names are unique, and one step has that one already";
  EXPECT_EQ(last.execution_behaviour(), api::Command::ALWAYS) << "a failed task is worth a look";
  EXPECT_EQ(last.wait_for_terminal_instruction().terminal_server_address(),
            controller_->rpc_endpoint())
      << "empty would mean a server that is not ours";
  // Its step is one as any other.
  ScriptedAgent speaker = agent(task);
  ASSERT_TRUE(speaker.update({{"terminal", api::COMPLETED}, {"terminal-2", api::EXECUTING}}).ok());
  ASSERT_TRUE(speaker.stream("terminal-2", {"waiting\n"}).ok());
  EXPECT_EQ(lifecycle(task, true), StatusCode::OK);
  const json shown = get("/api/v1/tasks/" + task.task_id())["task"];
  EXPECT_EQ(shown["steps"][2]["name"], "terminal-2");
  EXPECT_EQ(shown["steps"][2]["status"], "executing");
  ASSERT_TRUE(speaker
                  .finished({{"terminal", api::COMPLETED},
                             {"last", api::COMPLETED},
                             {"terminal-2", api::COMPLETED}})
                  .ok());
  ASSERT_TRUE(worker_->stopped(task).ok());
  EXPECT_EQ(get("/api/v1/tasks/" + task.task_id())["task"]["status"], "completed");
}

TEST_F(ReferenceTerminal, AnOrdinaryAttemptHasNoneAndSaysHowToGetOne) {
  EXPECT_EQ(call("POST", "/api/v1/tasks/" + first_ + "/rerun", {{"terminal", "yes"}}).status, 400);
  EXPECT_EQ(call("POST", "/api/v1/tasks/" + first_ + "/rerun", {{"terminals", true}}).status, 400);
  ASSERT_EQ(call("POST", "/api/v1/tasks/" + first_ + "/rerun").status, 202);
  const Assigned task = take_one(*worker_, 60);
  api::CommandsResponse commands;
  ASSERT_TRUE(agent(task).initial_commands(commands).ok());
  EXPECT_EQ(commands.commands_size(), 2);
  const net::HttpResponse answer = order(task);
  EXPECT_EQ(answer.status, 409);
  EXPECT_NE(answer.body.find("cirrus task rerun " + task.task_id() + " --terminal"),
            std::string::npos)
      << answer.body;
}

TEST_F(ReferenceTerminal, APersonTypesIntoAShellOfItsAgent) {
  const Assigned task = take_with_terminal();
  const net::HttpResponse early = order(task);
  EXPECT_EQ(early.status, 409);
  EXPECT_NE(early.body.find("offers no terminal yet"), std::string::npos) << early.body;
  ScriptedHost host(channel());
  const std::string locator = attach(host, task);
  EXPECT_EQ(order(task, api_token("submitter")).status, 403) << "a shell is for operators";
  const std::size_t entries = audited("task.shell").size();
  const net::HttpResponse opened = order(task);
  ASSERT_EQ(opened.status, 201) << opened.body;
  EXPECT_EQ(audited("task.shell").size(), entries + 1);
  EXPECT_EQ(audited("task.shell")[0]["subject"], task.task_id());
  const std::string id = json::parse(opened.body)["id"];

  const auto wish = host.order();
  EXPECT_EQ(wish.requested_dimensions().width_columns(), 100U);
  EXPECT_EQ(wish.requested_dimensions().height_rows(), 30U);
  ScriptedShell shell(channel());
  shell.say_hello(locator, wish.token());
  std::string printed;
  Thread reading([&] { printed = call("GET", "/api/v1/shells/" + id + "/output").body; });
  EXPECT_EQ(type(id, input_frame("make\n") + size_frame({60, 20})), 204);
  HostDataResponse heard;
  ASSERT_TRUE(shell.hear(heard));
  EXPECT_EQ(heard.input().data(), "make\n");
  ASSERT_TRUE(shell.hear(heard));
  EXPECT_EQ(heard.change_dimensions().width_columns(), 60U);
  ASSERT_TRUE(shell.print("make: nothing to do\n"));
  shell.half_close();
  reading.join();
  EXPECT_EQ(printed, "make: nothing to do\n");
  EXPECT_EQ(type(id, input_frame("late")), 404) << "the shell has ended";
  EXPECT_FALSE(audited("task.shell").dump().find("s3cret") != std::string::npos);
}

TEST_F(ReferenceTerminal, AShellEndsWhenThePersonHangsUp) {
  const Assigned task = take_with_terminal();
  ScriptedHost host(channel());
  const std::string locator = attach(host, task);
  const std::string id = json::parse(order(task).body)["id"];
  ScriptedShell shell(channel());
  shell.say_hello(locator, host.order().token());
  ASSERT_TRUE(shell.print("$ "));
  EXPECT_EQ(call("DELETE", "/api/v1/shells/" + id).status, 204);
  EXPECT_EQ(shell.end().error_code(), StatusCode::CANCELLED);
}

TEST_F(ReferenceTerminal, OnlyItsOwnAgentCanSayWhoseATerminalIs) {
  const Assigned task = take_with_terminal();
  ScriptedHost host(channel());
  host.say_hello("s3cret");
  const std::string locator = host.locator();
  Assigned forged = task;
  forged.set_client_secret("guess");
  EXPECT_EQ(attached(forged, locator, "s3cret"), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(attached(task, locator, "guess"), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(attached(task, "nowhere", "s3cret"), StatusCode::NOT_FOUND);
  EXPECT_EQ(order(task).status, 409) << "nobody has it yet";
  EXPECT_EQ(attached(task, locator, "s3cret"), StatusCode::OK);
  EXPECT_EQ(attached(task, locator, "s3cret"), StatusCode::OK) << "a repeated report";
  // Another task cannot take it over, even knowing everything about it.
  ScriptedWorker second = worker("w2");
  ASSERT_TRUE(second.register_now().ok());
  submit(kConfig);
  const Assigned other = take_one(second, 60);
  EXPECT_EQ(attached(other, locator, "s3cret"), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(order(task).status, 201);
  EXPECT_EQ(order(other).status, 409);
}

TEST_F(ReferenceTerminal, AfterABreakTheNewTerminalCounts) {
  const Assigned task = take_with_terminal();
  auto host = std::make_unique<ScriptedHost>(channel());
  const std::string old = attach(*host, task);
  const std::string id = json::parse(order(task).body)["id"];
  ScriptedShell shell(channel());
  shell.say_hello(old, host->order().token());
  ASSERT_TRUE(shell.print("still "));
  ScriptedHost fresh(channel());
  EXPECT_NE(attach(fresh, task), old) << "a new locator each time";
  EXPECT_EQ(host->end().error_code(), StatusCode::NOT_FOUND);
  ASSERT_EQ(order(task).status, 201);
  EXPECT_NE(fresh.order().token(), "");
  ASSERT_TRUE(shell.print("here"));
  shell.half_close();
  EXPECT_EQ(call("GET", "/api/v1/shells/" + id + "/output").body, "still here")
      << "what is open goes on";
}

TEST_F(ReferenceTerminal, ItIsGoneWithItsTask) {
  const Assigned task = take_with_terminal();
  ScriptedHost host(channel());
  const std::string locator = attach(host, task);
  agent(task).finished(
      {{"terminal", api::COMPLETED}, {"last", api::COMPLETED}, {"terminal-2", api::COMPLETED}});
  ASSERT_TRUE(worker_->stopped(task).ok());
  EXPECT_EQ(order(task).status, 409);
  EXPECT_EQ(attached(task, locator, "s3cret"), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(lifecycle(task, true), StatusCode::OK) << "late words are taken and dropped";
  ScriptedGuest guest(channel());
  guest.say_hello(locator, "s3cret");
  EXPECT_EQ(guest.end().error_code(), StatusCode::FAILED_PRECONDITION);
}

TEST_F(ReferenceTerminal, AGuestWithTheSecretIsAuditedAsAnOperatorIs) {
  const Assigned task = take_with_terminal();
  ScriptedHost host(channel());
  const std::string locator = attach(host, task);
  ScriptedGuest thief(channel());
  thief.say_hello(locator, "guess");
  EXPECT_EQ(thief.end().error_code(), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(audited("task.shell").size(), 0U);
  ScriptedGuest guest(channel());
  guest.say_hello(locator, "s3cret", 90, 20);
  ScriptedShell shell(channel());
  shell.say_hello(locator, host.order().token());
  ASSERT_TRUE(guest.type("ls\n"));
  HostDataResponse heard;
  ASSERT_TRUE(shell.hear(heard));
  EXPECT_EQ(heard.input().data(), "ls\n");
  ASSERT_EQ(audited("task.shell").size(), 1U);
  EXPECT_EQ(audited("task.shell")[0]["actor"], "holder of a terminal's secret at 127.0.0.1");
}

TEST_F(ReferenceTerminal, ARestartedControllerFindsItsTerminalsAgain) {
  const Assigned task = take_with_terminal();
  auto host = std::make_unique<ScriptedHost>(channel());
  attach(*host, task);
  restart();
  EXPECT_FALSE(host->end().ok());
  EXPECT_EQ(order(task).status, 409);
  api::CommandsResponse commands;
  ASSERT_TRUE(agent(task).initial_commands(commands).ok());
  EXPECT_EQ(commands.commands_size(), 3) << "what the attempt is has not been forgotten";
  // The agent tries again every five seconds.
  ScriptedHost again(channel());
  attach(again, task);
  EXPECT_EQ(order(task).status, 201);
}

}  // namespace cirrus::controller
