// SPDX-License-Identifier: MIT
// The whole controller in one process, spoken to over its real ports.
#include "controller/controller.h"

#include <future>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "controller/testing/controller_fixture.h"
#include "model/archive_mark.h"
#include "net/http_client.h"
#include "os/files.h"
#include "os/process.h"
#include "os/temp_dir.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;

constexpr const char* kConfig = R"(task:
  name: hello
  persistent_worker: {}
  one_script: echo one
  two_script: echo two
)";
}  // namespace

TEST_F(ControllerTest, AReferenceWorkerAndAgentRunATask) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const json build = submit(kConfig);
  EXPECT_EQ(build["status"], "created");

  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  ASSERT_EQ(response.tasks_to_start_size(), 1);
  const api::PollResponse::AgentAwareTask task = response.tasks_to_start(0);
  EXPECT_EQ(task.task_id(), build["tasks"][0]["id"]);
  EXPECT_EQ(std::to_string(task.old_task_id()), task.task_id());
  EXPECT_FALSE(task.has_isolation());
  EXPECT_FALSE(task.has_cirrus_commands());
  w.running = {task.task_id()};
  ASSERT_TRUE(w.started(task).ok());
  ASSERT_TRUE(w.started(task).ok()) << "repeated";

  ScriptedAgent a = agent(task);
  ASSERT_TRUE(a.heartbeat().ok());
  api::CommandsResponse commands;
  ASSERT_TRUE(a.initial_commands(commands).ok());
  EXPECT_EQ(commands.servertoken(), task.server_secret());
  EXPECT_EQ(commands.timeout_in_seconds(), 3600);
  ASSERT_EQ(commands.commands_size(), 2);
  EXPECT_EQ(commands.environment().at("CIRRUS_TASK_ID"), task.task_id());
  EXPECT_EQ(commands.environment().count("CIRRUS_REPO_CLONE_URL"), 0U);

  ASSERT_TRUE(a.update({{"one", api::EXECUTING}}).ok());
  EXPECT_EQ(a.update({{"three", api::EXECUTING}}).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(a.stream("one", {"hel", "lo\n"}).ok());
  EXPECT_EQ(call("GET", "/api/v1/tasks/" + task.task_id() + "/logs/one").body, "hello\n");
  ASSERT_TRUE(a.save("one", {"hello again\n"}).ok());
  ASSERT_TRUE(a.update({{"one", api::COMPLETED}, {"two", api::EXECUTING}}).ok());
  EXPECT_EQ(get("/api/v1/builds/" + build["id"].get<std::string>())["build"]["status"],
            "executing");
  ASSERT_TRUE(a.stream("two", {"two\n"}).ok());
  ASSERT_TRUE(
      a.finished({{"one", api::EXECUTING}, {"one", api::COMPLETED}, {"two", api::COMPLETED}}).ok());
  ASSERT_TRUE(w.stopped(task).ok());
  ASSERT_TRUE(w.stopped(task).ok()) << "repeated";

  const json done = get("/api/v1/builds/" + build["id"].get<std::string>())["build"];
  EXPECT_EQ(done["status"], "completed");
  EXPECT_EQ(done["tasks"][0]["status"], "completed");
  EXPECT_EQ(done["tasks"][0]["worker"], "w1");
  EXPECT_EQ(done["tasks"][0]["steps"][0]["status"], "completed");
  EXPECT_EQ(call("GET", "/api/v1/tasks/" + task.task_id() + "/logs/one").body, "hello again\n");
  EXPECT_EQ(call("GET", "/api/v1/tasks/" + task.task_id() + "/logs/none").status, 404);
  // Late messages of a finished task are taken and dropped.
  EXPECT_TRUE(a.update({{"one", api::FAILED}}).ok());
  EXPECT_TRUE(a.stream("one", {"late"}).ok());
  EXPECT_EQ(call("GET", "/api/v1/tasks/" + task.task_id() + "/logs/one").body, "hello again\n");
}

TEST_F(ControllerTest, AHeldPollIsAnsweredWhenWorkComes) {
  ScriptedWorker w = worker();
  w.features = "hold,commands";
  w.instance = "i1";
  ASSERT_TRUE(w.register_now().ok());
  auto polled = std::async(std::launch::async, [&] {
    api::PollResponse response;
    EXPECT_TRUE(w.poll(response).ok());
    return response;
  });
  EXPECT_EQ(polled.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  submit(kConfig);
  const api::PollResponse response = polled.get();
  ASSERT_EQ(response.tasks_to_start_size(), 1);
  ASSERT_TRUE(response.tasks_to_start(0).has_cirrus_commands());
  EXPECT_EQ(response.tasks_to_start(0).cirrus_commands().commands_size(), 2);
  EXPECT_EQ(response.tasks_to_start(0).cirrus_commands().servertoken(),
            response.tasks_to_start(0).server_secret());
}

TEST_F(ControllerTest, TasksLogsAndSessionsSurviveARestart) {
  ScriptedWorker w = worker();
  w.instance = "i1";
  ASSERT_TRUE(w.register_now().ok());
  const json build = submit(kConfig);
  submit(kConfig);
  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  ASSERT_EQ(response.tasks_to_start_size(), 1);
  const auto task = response.tasks_to_start(0);
  ASSERT_TRUE(w.started(task).ok());
  {
    ScriptedAgent a = agent(task);
    ASSERT_TRUE(a.update({{"one", api::EXECUTING}}).ok());
    std::int64_t stored = 0;
    ASSERT_TRUE(a.stream("one", {"abc"}, "0", &stored).ok());
    EXPECT_EQ(stored, 3);
  }
  const std::string session = w.session_token;
  restart();

  ScriptedWorker again = worker();
  again.session_token = session;
  again.instance = "i1";
  again.running = {task.task_id()};
  api::PollResponse empty;
  ASSERT_TRUE(again.poll(empty, 1).error_code() == grpc::StatusCode::DEADLINE_EXCEEDED);
  ScriptedAgent a = agent(task);
  std::int64_t stored = 0;
  ASSERT_TRUE(a.stream("one", {"bcdef"}, "1", &stored).ok());
  EXPECT_EQ(stored, 6);
  EXPECT_EQ(a.stream("one", {"x"}, "9", &stored).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(call("GET", "/api/v1/tasks/" + task.task_id() + "/logs/one").body, "abcdef");
  ASSERT_TRUE(a.finished({{"one", api::COMPLETED}, {"two", api::COMPLETED}}).ok());
  ASSERT_TRUE(again.stopped(task).ok());
  EXPECT_EQ(get("/api/v1/builds/" + build["id"].get<std::string>())["build"]["status"],
            "completed");
  again.running.clear();
  ASSERT_TRUE(again.poll(empty).ok());
  ASSERT_EQ(empty.tasks_to_start_size(), 1) << "the second build was waiting";
  EXPECT_NE(empty.tasks_to_start(0).task_id(), task.task_id());
}

TEST_F(ControllerTest, ADiskThatRefusesALogIsNoReasonToLetGoOfItsTask) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit(kConfig);
  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  const auto task = response.tasks_to_start(0);
  ASSERT_TRUE(w.started(task).ok());
  // A link is never followed: the system's refusal is one of those that mean "not allowed".
  const std::filesystem::path log = directory_.path() / "data" / "logs" / task.task_id() / "one";
  ASSERT_TRUE(os::make_directories(log.parent_path()).ok());
  std::filesystem::create_symlink("elsewhere", log);
  ScriptedAgent a = agent(task);
  EXPECT_EQ(a.stream("one", {"hello\n"}).error_code(), grpc::StatusCode::UNAVAILABLE);
  std::filesystem::remove(log);
  EXPECT_TRUE(a.stream("one", {"hello\n"}).ok());
  EXPECT_EQ(call("GET", "/api/v1/tasks/" + task.task_id() + "/logs/one").body, "hello\n");
}

TEST_F(ControllerTest, CancelStopsTheWorkerAndFencesTheAgent) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const json build = submit(kConfig);
  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  const auto task = response.tasks_to_start(0);
  ASSERT_TRUE(w.started(task).ok());
  w.running = {task.task_id()};
  auto polled = std::async(std::launch::async, [&] {
    api::PollResponse stop;
    EXPECT_TRUE(w.poll(stop).ok());
    return stop;
  });
  EXPECT_EQ(polled.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  EXPECT_EQ(call("POST", "/api/v1/builds/" + build["id"].get<std::string>() + "/cancel").status,
            202);
  const api::PollResponse stop = polled.get();
  ASSERT_EQ(stop.tasks_to_stop_size(), 1);
  EXPECT_EQ(stop.tasks_to_stop(0), task.task_id());
  ScriptedAgent a = agent(task);
  api::CommandsResponse commands;
  EXPECT_EQ(a.initial_commands(commands).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(a.finished({{"one", api::COMPLETED}, {"two", api::COMPLETED}}).ok());
  EXPECT_EQ(w.started(task).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  const json done = get("/api/v1/builds/" + build["id"].get<std::string>())["build"];
  EXPECT_EQ(done["status"], "aborted");
  EXPECT_EQ(done["tasks"][0]["reason"], "cancelled by admin");
}

TEST_F(ControllerTest, WrongCredentialsAreRefusedByTheirCodes) {
  ScriptedWorker forged(controller_->rpc_endpoint(), "wrong", "w1");
  EXPECT_EQ(forged.register_now().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit(kConfig);
  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  auto task = response.tasks_to_start(0);
  const auto code = [&](const std::string& id, const std::string& secret) {
    return ScriptedAgent(controller_->rpc_endpoint(), id, secret).heartbeat().error_code();
  };
  EXPECT_EQ(code("", ""), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(code("x", "y"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code("9999", "y"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(code(task.task_id(), "y"), grpc::StatusCode::UNAUTHENTICATED);
  ScriptedWorker other = worker("w2");
  ASSERT_TRUE(other.register_now().ok());
  EXPECT_EQ(other.started(task).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(call("GET", "/api/v1/builds", {}, "nonsense").status, 401);
  EXPECT_EQ(call("GET", "/healthz", {}, "nonsense").status, 200);
}

TEST_F(ControllerTest, OneInstancePerWorkerName) {
  ScriptedWorker first = worker();
  first.instance = "a";
  first.features = "hold";
  ASSERT_TRUE(first.register_now().ok());
  api::PollResponse response;
  EXPECT_EQ(first.poll(response, 1).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ScriptedWorker second = worker();
  second.instance = "b";
  const grpc::Status refused = second.register_now();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_NE(refused.error_message().find("--name"), std::string::npos);
  second.instance = "a";
  EXPECT_TRUE(second.register_now().ok());
}

TEST_F(ControllerTest, PauseKeepsWorkAway) {
  ScriptedWorker w = worker();
  api::WorkerStatus status;
  EXPECT_EQ(w.update_status(true, status).error_code(), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(w.register_now().ok());
  ASSERT_TRUE(w.update_status(true, status).ok());
  EXPECT_TRUE(status.disabled());
  const json build = submit(kConfig);
  api::PollResponse response;
  EXPECT_EQ(w.poll(response, 1).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  const json why = get("/api/v1/tasks/" + build["tasks"][0]["id"].get<std::string>() + "/why");
  EXPECT_EQ(why["reasons"][0], "1 matching worker is paused");
  restart();
  ScriptedWorker again = worker();
  again.session_token = w.session_token;
  EXPECT_EQ(again.poll(response, 1).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  api::QueryRunningTasksResponse running;
  ASSERT_TRUE(again.query_running(running).ok());
  EXPECT_TRUE(running.status().disabled());
  ASSERT_TRUE(again.update_status(false, status).ok());
  ASSERT_TRUE(again.poll(response).ok());
  EXPECT_EQ(response.tasks_to_start_size(), 1);
}

TEST_F(ControllerTest, AConfigurationErrorNamesItsPlace) {
  const net::HttpResponse response =
      call("POST", "/api/v1/builds", {{"config", "task:\n  name: x\n  depends_on: y\n"}});
  EXPECT_EQ(response.status, 422) << response.body;
  const json problem = json::parse(response.body);
  EXPECT_FALSE(problem["detail"].get<std::string>().empty());
  EXPECT_NE(problem["rendered"].get<std::string>().find(".cirrus.yml"), std::string::npos);
}

TEST_F(ControllerTest, FollowersSeeBuildAndLogAsTheyHappen) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const json build = submit(kConfig);
  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  const auto task = response.tasks_to_start(0);
  const auto follow = [&](const std::string& path) {
    net::HttpRequest request;
    request.url = controller_->http_url() + path;
    request.timeout = std::chrono::seconds(20);
    request.headers = {{"Authorization", "Bearer " + admin_token_}};
    return std::async(std::launch::async, [request] {
      std::vector<net::EventParser::Event> events;
      net::EventParser parser;
      const auto answered = net::HttpClient().stream(request, [&](std::string_view bytes) {
        return parser.feed(bytes, [&](const net::EventParser::Event& event) {
          events.push_back(event);
          return event.name != "end";
        });
      });
      EXPECT_TRUE(answered.ok()) << answered.error().to_string();
      return events;
    });
  };
  auto log_events = follow("/api/v1/tasks/" + task.task_id() + "/logs/one?follow=1");
  auto build_events = follow("/api/v1/builds/" + build["id"].get<std::string>() + "/events");
  ASSERT_TRUE(w.started(task).ok());
  ScriptedAgent a = agent(task);
  ASSERT_TRUE(a.stream("one", {"hello\n"}, "0").ok());
  ASSERT_TRUE(a.update({{"one", api::COMPLETED}}).ok());
  const auto logged = log_events.get();
  ASSERT_EQ(logged.size(), 2U);
  EXPECT_EQ(json::parse(logged[0].data)["data"], "aGVsbG8K");
  EXPECT_EQ(logged[1].name, "end");
  ASSERT_TRUE(a.finished({{"one", api::COMPLETED}, {"two", api::COMPLETED}}).ok());
  const auto built = build_events.get();
  ASSERT_GE(built.size(), 2U);
  EXPECT_EQ(built.back().name, "end");
  EXPECT_EQ(json::parse(built[built.size() - 2].data)["build"]["status"], "completed");
}

TEST_F(ControllerTest, ARepositoryIsPushedBuiltAndFetchedByItsTaskOnly) {
  const os::TempDir work = os::TempDir::create("controller-test").value();
  ASSERT_TRUE(os::write_file(work.path() / ".cirrus.yml", kConfig).ok());
  const auto git = [&](std::vector<std::string> arguments) {
    os::SpawnOptions options;
    options.argv = {"git", "-c", "user.name=t", "-c", "user.email=t@example.org"};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.working_directory = work.path();
    os::Environment environment = os::current_environment();
    environment["GIT_CONFIG_NOSYSTEM"] = "1";
    environment["GIT_CONFIG_GLOBAL"] = "/dev/null";
    environment["GIT_TERMINAL_PROMPT"] = "0";
    environment["no_proxy"] = "*";
    options.environment = environment;
    return os::run_command(options, "", StopToken(),
                           system_clock().now() + std::chrono::seconds(30))
        .value();
  };
  ASSERT_TRUE(git({"init", "-q", "-b", "main"}).status.success());
  ASSERT_TRUE(git({"add", "."}).status.success());
  ASSERT_TRUE(git({"commit", "-q", "-m", "first\n\nbody"}).status.success());
  const std::string commit(trim(git({"rev-parse", "HEAD"}).output));
  const auto url = [&](const std::string& password) {
    const std::string base = controller_->http_url();
    return base.substr(0, 7) + "x:" + password + "@" + base.substr(7) + "/git/local/hello.git";
  };
  EXPECT_FALSE(git({"push", url("wrong"), "HEAD:refs/heads/main"}).status.success());
  const auto pushed = git({"push", url(admin_token_), "HEAD:refs/cirrus/submit/" + commit});
  ASSERT_TRUE(pushed.status.success()) << pushed.errors;

  const net::HttpResponse created = call("POST", "/api/v1/builds",
                                         {{"repository", "local/hello"},
                                          {"branch", "main"},
                                          {"commit", commit},
                                          {"message", "first\n\nbody"}});
  ASSERT_EQ(created.status, 201) << created.body;
  EXPECT_EQ(json::parse(created.body)["build"]["tasks"][0]["steps"][0]["name"], "clone");

  ScriptedWorker w = worker();
  w.features = "commands";
  ASSERT_TRUE(w.register_now().ok());
  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  const auto task = response.tasks_to_start(0);
  const auto& environment = task.cirrus_commands().environment();
  const std::string clone_url = environment.at("CIRRUS_REPO_CLONE_URL");
  EXPECT_EQ(environment.at("CIRRUS_CHANGE_IN_REPO"), commit);
  EXPECT_EQ(environment.at("CIRRUS_CHANGE_TITLE"), "first");
  ASSERT_EQ(task.cirrus_commands().secrets_to_mask_size(), 1);
  EXPECT_NE(clone_url.find(task.cirrus_commands().secrets_to_mask(0)), std::string::npos);
  const auto fetched = git({"fetch", "--depth=1", clone_url, commit});
  EXPECT_TRUE(fetched.status.success()) << fetched.errors;
  EXPECT_FALSE(git({"push", clone_url, "HEAD:refs/heads/evil"}).status.success());
  std::string foreign = clone_url;
  foreign.replace(foreign.find("local/hello"), 11, "local/other");
  EXPECT_FALSE(git({"ls-remote", foreign}).status.success());
  call("POST", "/api/v1/tasks/" + task.task_id() + "/cancel");
  EXPECT_FALSE(git({"ls-remote", clone_url}).status.success()) << "the token died with its task";
}

TEST_F(ControllerTest, T04_ACancelledTaskStoresUntilItsWorkerHasStoppedItAndNoLonger) {
  submit(kConfig);
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const auto task = take_one(w);
  ASSERT_FALSE(task.task_id().empty());
  w.running = {task.task_id()};
  ScriptedAgent a = agent(task);
  ASSERT_TRUE(a.update({{"one", api::EXECUTING}}).ok());
  call("POST", "/api/v1/tasks/" + task.task_id() + "/cancel");
  EXPECT_TRUE(a.write_cache("k", {"of a step that always runs"}).ok());
  w.running.clear();
  ASSERT_TRUE(w.stopped(task).ok());
  EXPECT_FALSE(a.write_cache("k", {"late"}).ok());
}

TEST_F(ControllerTest, T04_CachesComeBackToLaterTasksOfTheirRepositoryOnly) {
  const auto next_task = [&](ScriptedWorker& w, const std::string& repository) {
    submit(kConfig, {{"repository", repository}});
    const auto task = take_one(w);
    if (!task.task_id().empty()) w.running.push_back(task.task_id());
    return task;
  };
  ScriptedWorker before = worker("before");
  ASSERT_TRUE(before.register_now().ok());
  const auto first = next_task(before, "acme/app");
  ScriptedAgent writer = agent(first);
  std::string content;
  EXPECT_EQ(writer.read_cache("node-1", content).error_code(), grpc::StatusCode::NOT_FOUND);
  const std::string large(3 << 20, 'x');
  ASSERT_TRUE(writer.write_cache("node-1", {"head ", large, "tail"}).ok());
  EXPECT_FALSE(writer.write_cache("node-2", {"half"}, false).ok());
  ASSERT_TRUE(writer.finished({{"one", api::COMPLETED}, {"two", api::COMPLETED}}).ok());
  // T04: nothing after the task's end.
  EXPECT_EQ(writer.read_cache("node-1", content).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(writer.write_cache("node-1", {"late"}).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  before.running.clear();
  ASSERT_TRUE(before.stopped(first).ok());

  restart();
  ScriptedWorker after = worker("after");
  ASSERT_TRUE(after.register_now().ok());
  const auto second = next_task(after, "acme/app");
  ScriptedAgent reader = agent(second);
  ASSERT_TRUE(reader.read_cache("node-1", content).ok());
  EXPECT_EQ(content, "head " + large + "tail");
  api::CacheInfoResponse info;
  ASSERT_TRUE(reader.cache_info("node-9", {"none-", "node-"}, info).ok());
  EXPECT_EQ(info.info().key(), "node-1") << "half an upload left nothing";
  EXPECT_EQ(info.info().size_in_bytes(), (3 << 20) + 9);
  EXPECT_EQ(info.info().created_by_task_id(), first.task_id());
  EXPECT_EQ(reader.cache_info("node-9", {}, info).error_code(), grpc::StatusCode::NOT_FOUND);
  // T04: another task's secret, another repository.
  ScriptedWorker other = worker("other");
  ASSERT_TRUE(other.register_now().ok());
  const api::PollResponse::AgentAwareTask third = next_task(other, "acme/other");
  ScriptedAgent stranger = agent(third);
  EXPECT_EQ(stranger.read_cache("node-1", content).error_code(), grpc::StatusCode::NOT_FOUND);
  ScriptedAgent liar(controller_->rpc_endpoint(), second.task_id(), third.client_secret());
  EXPECT_EQ(liar.read_cache("node-1", content).error_code(), grpc::StatusCode::UNAUTHENTICATED);

  // An archive a reference agent cannot read is none for it; what is not an archive is.
  const std::string archive = std::string(model::kArchiveMark) + "and more";
  ASSERT_TRUE(reader.write_cache("node-3", {archive}).ok());
  EXPECT_EQ(reader.read_cache("node-3", content).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(reader.cache_info("node-3", {}, info).error_code(), grpc::StatusCode::NOT_FOUND);
  std::string read;
  ASSERT_TRUE(reader.read_cache("node-3", read, true).ok());
  EXPECT_EQ(read, archive);
  ASSERT_TRUE(reader.delete_cache("node-3").ok());

  const json caches = get("/api/v1/caches/acme/app");
  ASSERT_EQ(caches["caches"].size(), 1U);
  EXPECT_EQ(caches["caches"][0]["key"], "node-1");
  EXPECT_EQ(caches["caches"][0]["task_id"], first.task_id());
  EXPECT_EQ(call("DELETE", "/api/v1/caches/acme/app").status, 400);
  EXPECT_EQ(call("DELETE", "/api/v1/caches/acme/app?key=node-1").status, 200);
  EXPECT_EQ(reader.read_cache("node-1", content).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ControllerTest, ArtifactsAreDownloadedAsTheyWereUploaded) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit(kConfig);
  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  const auto task = response.tasks_to_start(0);
  w.running = {task.task_id()};
  ASSERT_TRUE(w.started(task).ok());
  ScriptedAgent a = agent(task);
  const std::string base = "/api/v1/tasks/" + task.task_id() + "/artifacts";
  EXPECT_TRUE(get(base)["artifacts"].empty());
  const std::string page = "<script>alert(1)</script>";
  ASSERT_TRUE(
      a.upload_artifacts("site", {{"index.html", page}, {"deep/er/x y", "1"}, {"deep/er/x y", "2"}})
          .ok());
  ASSERT_TRUE(a.upload_artifacts("nothing", {}).ok());
  const json list = get(base);
  ASSERT_EQ(list["artifacts"].size(), 2U);
  EXPECT_EQ(list["artifacts"][1]["name"], "site");
  EXPECT_EQ(list["artifacts"][1]["files"][0]["path"], "deep/er/x y");
  EXPECT_EQ(list["artifacts"][1]["files"][0]["size"], 2);
  EXPECT_EQ(call("GET", base + "/site/deep/er/x%20y").body, "12");
  // T14: a page of a task is never a page of ours.
  const net::HttpResponse html = call("GET", base + "/site/index.html");
  EXPECT_EQ(html.body, page);
  EXPECT_EQ(html.headers.at("content-type"), "application/octet-stream");
  EXPECT_EQ(html.headers.at("content-disposition"), "attachment; filename=\"index.html\"");
  // T03: paths that lead elsewhere.
  EXPECT_EQ(call("GET", base + "/site/..%2f..%2flist").status, 400);
  EXPECT_EQ(call("GET", base + "/site/%2e%2e/list").status, 400);
  EXPECT_EQ(call("GET", base + "/site/absent").status, 404);
  EXPECT_EQ(a.upload_artifacts("bad", {{"../x", "1"}}).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(get(base)["artifacts"].size(), 2U);
  ASSERT_TRUE(a.finished({{"one", api::COMPLETED}, {"two", api::COMPLETED}}).ok());
  EXPECT_EQ(a.upload_artifacts("late", {{"x", "1"}}).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(ControllerTest, ASecondControllerOnTheSameDirectoryIsRefused) {
  ControllerOptions options;
  options.data_dir = directory_.path() / "data";
  options.rpc_address = "127.0.0.1:0";
  options.http_address = "127.0.0.1:0";
  const auto second = Controller::start(options, system_clock());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::AlreadyExists);
  options.data_dir = directory_.path() / "other";
  options.http_address = controller_->http_url().substr(7);
  const auto taken = Controller::start(options, system_clock());
  ASSERT_FALSE(taken.ok());
  EXPECT_NE(taken.error().to_string().find("in use"), std::string::npos)
      << taken.error().to_string();
  options.http_address = "127.0.0.1:0";
  options.rpc_address = controller_->rpc_endpoint().substr(7);
  EXPECT_FALSE(Controller::start(options, system_clock()).ok());
  options.rpc_address = "0.0.0.0:0";
  const auto open = Controller::start(options, system_clock());
  ASSERT_FALSE(open.ok());
  EXPECT_NE(open.error().message().find("--allow-cleartext"), std::string::npos);
}

TEST_F(ControllerTest, EvaluatesConfigurationsForTheReferencesClients) {
  const auto stub = evaluator_at(controller_->rpc_endpoint());
  api::EvaluateConfigRequest request;
  request.set_yaml_config("container: {image: a}\ntask: {name: $N, script: make}\n");
  (*request.mutable_environment())["N"] = "one";
  api::EvaluateConfigResponse response;
  {
    grpc::ClientContext context;
    const grpc::Status status = stub->EvaluateConfig(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  ASSERT_EQ(response.tasks_size(), 1);
  EXPECT_EQ(response.tasks(0).name(), "one");
  EXPECT_EQ(response.processed_config(), request.yaml_config());

  request.set_yaml_config("task: [");
  grpc::ClientContext broken;
  EXPECT_EQ(stub->EvaluateConfig(&broken, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext schema_context;
  api::JSONSchemaResponse schema;
  ASSERT_TRUE(stub->JSONSchema(&schema_context, {}, &schema).ok());
  EXPECT_TRUE(json::parse(schema.schema()).contains("fileMatch"));
  grpc::ClientContext function_context;
  api::EvaluateFunctionResponse function;
  EXPECT_EQ(stub->EvaluateFunction(&function_context, {}, &function).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ControllerTest, ATokenSentWithAnEvaluationIsChecked) {
  const auto stub = evaluator_at(controller_->rpc_endpoint());
  const auto ask = [&](const std::string& token) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token);
    api::JSONSchemaResponse response;
    return stub->JSONSchema(&context, {}, &response).error_code();
  };
  EXPECT_EQ(ask(admin_token_), grpc::StatusCode::OK);
  EXPECT_EQ(ask("wrong"), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(ControllerTest, EvaluationsThatWaitAreBoundedAndAnsweredAtTheEnd) {
  const auto stub = evaluator_at(controller_->rpc_endpoint());
  // Each costs about half a second, so that they pile up behind the first.
  api::EvaluateConfigRequest request;
  std::string environment;
  for (int i = 0; i < 30'000; ++i) environment += fmt::format("K{}: 1, ", i);
  std::string tasks;
  for (int i = 0; i < 4'000; ++i) tasks += "task: {env: {A: 1}}\n";
  request.set_yaml_config("container: {image: a}\nenv: {" + environment + "}\n" + tasks);
  std::vector<std::future<grpc::StatusCode>> calls;
  for (int i = 0; i < 24; ++i) {
    calls.push_back(std::async(std::launch::async, [&] {
      grpc::ClientContext context;
      api::EvaluateConfigResponse response;
      return stub->EvaluateConfig(&context, request, &response).error_code();
    }));
  }
  std::map<grpc::StatusCode, int> answers;
  ++answers[calls.front().get()];
  EXPECT_TRUE(worker().register_now().ok()) << "other services answer meanwhile";
  controller_.reset();
  for (std::size_t i = 1; i < calls.size(); ++i) ++answers[calls[i].get()];
  EXPECT_GE(answers[grpc::StatusCode::RESOURCE_EXHAUSTED], 1) << "the queue is short";
  EXPECT_EQ(answers[grpc::StatusCode::RESOURCE_EXHAUSTED] +
                answers[grpc::StatusCode::INVALID_ARGUMENT] +
                answers[grpc::StatusCode::UNAVAILABLE],
            24);
  start();
}

}  // namespace cirrus::controller
