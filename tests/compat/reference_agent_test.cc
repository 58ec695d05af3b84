// SPDX-License-Identifier: MIT
// A reference agent's conversations. Source: protocol §7 to §10, §12, §13.
#include "controller/testing/controller_fixture.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;

constexpr const char* kConfig =
    "task:\n  persistent_worker: {}\n  env:\n    WORD: apple\n  one_script: a\n"
    "  two_script: b\n  always:\n    last_script: c\n";

class ReferenceAgent : public ControllerTest {
 protected:
  void SetUp() override {
    ControllerTest::SetUp();
    worker_.emplace(controller_->rpc_endpoint(), token(controller_->registration_token_file()),
                    "w1");
    ASSERT_TRUE(worker_->register_now().ok());
    submit(kConfig);
    api::PollResponse response;
    ASSERT_TRUE(worker_->poll(response).ok());
    ASSERT_EQ(response.tasks_to_start_size(), 1);
    task_ = response.tasks_to_start(0);
    ASSERT_TRUE(worker_->started(task_).ok());
    agent_.emplace(controller_->rpc_endpoint(), task_.task_id(), task_.client_secret());
  }
  json shown() { return get("/api/v1/tasks/" + task_.task_id())["task"]; }
  std::string log(const std::string& step) {
    return call("GET", "/api/v1/tasks/" + task_.task_id() + "/logs/" + step).body;
  }
  /// A unary call that has no method of its own.
  template <typename Request, typename Response>
  grpc::Status ask(grpc::Status (api::CirrusCIService::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                   const Request& request, Response& response) {
    grpc::ClientContext context;
    agent_->identify(context);
    return (agent_->stub().*method)(&context, request, &response);
  }

  std::optional<ScriptedWorker> worker_;
  api::PollResponse::AgentAwareTask task_;
  std::optional<ScriptedAgent> agent_;
};
}  // namespace

TEST_F(ReferenceAgent, RunsATaskFromHeartbeatToAgentLogs) {
  ASSERT_TRUE(agent_->heartbeat().ok()) << "comes before everything";
  api::InitialCommandsRequest hello;
  hello.set_local_timestamp(1'700'000'000);
  api::CommandsResponse commands;
  ASSERT_TRUE(ask(&api::CirrusCIService::Stub::InitialCommands, hello, commands).ok());
  hello.set_retry(true);
  api::CommandsResponse again;
  ASSERT_TRUE(ask(&api::CirrusCIService::Stub::InitialCommands, hello, again).ok());
  EXPECT_EQ(commands.servertoken(), task_.server_secret()) << "byte-equal, or it aborts";
  EXPECT_EQ(again.servertoken(), commands.servertoken());
  EXPECT_GT(commands.timeout_in_seconds(), 0) << "0 would expire at once";
  EXPECT_EQ(commands.environment().at("WORD"), "apple");
  EXPECT_EQ(commands.environment().count("CIRRUS_WORKING_DIR"), 0U) << "not for isolation none";
  std::set<std::string> names;
  for (const api::Command& command : commands.commands()) names.insert(command.name());
  EXPECT_EQ(static_cast<int>(names.size()), commands.commands_size()) << "names are unique";
  ASSERT_EQ(commands.commands_size(), 3);
  EXPECT_EQ(commands.commands(2).execution_behaviour(), api::Command::ALWAYS);

  // EXECUTING is flushed before a step; results travel with what comes next.
  ASSERT_TRUE(agent_->update({{"one", api::EXECUTING}}).ok());
  ASSERT_TRUE(agent_->stream("one", {"hello\n"}).ok());
  ASSERT_TRUE(agent_->save("one", {"hello\n"}).ok());
  ASSERT_TRUE(
      agent_->update({{"one", api::FAILED}, {"two", api::SKIPPED}, {"last", api::EXECUTING}}).ok());
  EXPECT_EQ(shown()["steps"][1]["status"], "skipped");
  ASSERT_TRUE(agent_
                  ->finished({{"one", api::EXECUTING},
                              {"one", api::FAILED},
                              {"two", api::SKIPPED},
                              {"last", api::EXECUTING},
                              {"last", api::COMPLETED}})
                  .ok())
      << "the whole history; the last entry of a name counts";
  api::ReportAgentLogsRequest own;
  own.set_logs(std::string(6 << 20, 'l'));
  google::protobuf::Empty none;
  EXPECT_TRUE(ask(&api::CirrusCIService::Stub::ReportAgentLogs, own, none).ok())
      << "one string, and longer than 4 MiB";
  ASSERT_TRUE(worker_->stopped(task_).ok());
  EXPECT_EQ(shown()["status"], "failed");
  EXPECT_EQ(shown()["reason"], "step 'one' failed");
}

TEST_F(ReferenceAgent, ABatchThatIsSentAgainWithMoreInItIsTaken) {
  ASSERT_TRUE(agent_->update({{"one", api::EXECUTING}}).ok());
  // The answer to the next flush was lost; the one after repeats it.
  ASSERT_TRUE(agent_->update({{"one", api::COMPLETED}, {"two", api::EXECUTING}}).ok());
  ASSERT_TRUE(agent_
                  ->update({{"one", api::COMPLETED},
                            {"two", api::EXECUTING},
                            {"two", api::COMPLETED},
                            {"last", api::EXECUTING}})
                  .ok());
  EXPECT_EQ(shown()["steps"][0]["status"], "completed");
  EXPECT_EQ(shown()["steps"][1]["status"], "completed");
  EXPECT_EQ(shown()["steps"][2]["status"], "executing");
  EXPECT_EQ(agent_->update({{"nine", api::EXECUTING}}).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(ReferenceAgent, AReopenedStreamGoesOnAndASavedLogReplacesIt) {
  ASSERT_TRUE(agent_->stream("one", {"first ", "part\n"}).ok());
  ASSERT_TRUE(agent_->stream("one", {"second part\n"}).ok()) << "the key again";
  EXPECT_EQ(log("one"), "first part\nsecond part\n");
  ASSERT_TRUE(agent_->save("one", {"all ", "of it\n"}).ok());
  EXPECT_EQ(log("one"), "all of it\n");
  EXPECT_EQ(agent_->stream("nine", {"x"}).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(ReferenceAgent, ASaveThatBreaksOffLeavesWhatWasStreamed) {
  ASSERT_TRUE(agent_->stream("one", {"streamed\n"}).ok());
  grpc::ClientContext context;
  agent_->identify(context);
  api::UploadLogsResponse response;
  const auto writer = agent_->stub().SaveLogs(&context, &response);
  api::LogEntry entry;
  entry.mutable_key()->set_command_name("one");
  entry.mutable_key()->set_raw(true);
  ASSERT_TRUE(writer->Write(entry));
  entry.mutable_chunk()->set_data("half of");
  ASSERT_TRUE(writer->Write(entry));
  context.TryCancel();
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(log("one"), "streamed\n");
}

TEST_F(ReferenceAgent, BytesOfALogNeedNotBeText) {
  const std::string bytes("\xff\x00\x1b[31m\r\n\xc3", 10);
  ASSERT_TRUE(agent_->stream("one", {bytes, "\xa9\n"}).ok());
  EXPECT_EQ(log("one"), bytes + "\xa9\n");
}

TEST_F(ReferenceAgent, MessagesOfAnyKindAreTaken) {
  google::protobuf::Empty none;
  api::ReportAgentProblemRequest problem;
  problem.set_message("cannot reach vault");
  problem.set_stack("main.go:1");
  EXPECT_TRUE(ask(&api::CirrusCIService::Stub::ReportAgentWarning, problem, none).ok());
  api::ReportAgentSignalRequest signal;
  signal.set_signal("terminated");
  EXPECT_TRUE(ask(&api::CirrusCIService::Stub::ReportAgentSignal, signal, none).ok());
  api::ReportAnnotationsCommandRequest annotations;
  annotations.add_annotations()->set_message("line 3 is long");
  EXPECT_TRUE(ask(&api::CirrusCIService::Stub::ReportAnnotations, annotations, none).ok());
  EXPECT_TRUE(
      ask(&api::CirrusCIService::Stub::ReportStopHook, api::ReportStopHookRequest(), none).ok());
  // A fatal one explains the end: no final report follows. Source: protocol §7.3.
  EXPECT_TRUE(ask(&api::CirrusCIService::Stub::ReportAgentError, problem, none).ok());
  ASSERT_TRUE(worker_->stopped(task_).ok());
  EXPECT_EQ(shown()["status"], "failed");
  EXPECT_NE(shown()["reason"].get<std::string>().find("cannot reach vault"), std::string::npos);
}

TEST_F(ReferenceAgent, ArtifactsComeOverThisPortWhenAddressesAreNotOffered) {
  api::GenerateArtifactUploadURLsRequest request;
  request.set_name("binaries");
  api::GenerateArtifactUploadURLsResponse response;
  EXPECT_EQ(
      ask(&api::CirrusCIService::Stub::GenerateArtifactUploadURLs, request, response).error_code(),
      grpc::StatusCode::UNIMPLEMENTED);
  ASSERT_TRUE(
      agent_->upload_artifacts("binaries", {{"out/a", "12"}, {"out/a", "34"}, {"b", "5"}}).ok());
  EXPECT_EQ(call("GET", "/api/v1/tasks/" + task_.task_id() + "/artifacts/binaries/out/a").body,
            "1234");
  EXPECT_FALSE(agent_->upload_artifacts("evil", {{"../../x", "1"}}).ok());
  EXPECT_FALSE(agent_->upload_artifacts("evil", {{"/etc/x", "1"}}).ok());
}

TEST_F(ReferenceAgent, WhatThirdPartyCachesAskForIsUnimplemented) {
  api::CacheKey key;
  key.set_cache_key("k");
  api::MultipartCacheUploadCreateResponse created;
  EXPECT_EQ(ask(&api::CirrusCIService::Stub::MultipartCacheUploadCreate, key, created).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ReferenceAgent, LateWordsOfAnEndedTaskAreTakenAndDropped) {
  ASSERT_TRUE(agent_->stream("one", {"in time\n"}).ok());
  ASSERT_TRUE(
      agent_->finished({{"one", api::COMPLETED}, {"two", api::COMPLETED}, {"last", api::COMPLETED}})
          .ok());
  ASSERT_TRUE(worker_->stopped(task_).ok());
  EXPECT_TRUE(agent_->heartbeat().ok());
  EXPECT_TRUE(agent_->update({{"one", api::FAILED}}).ok());
  EXPECT_TRUE(agent_->finished({{"one", api::FAILED}}).ok());
  EXPECT_TRUE(agent_->stream("one", {"too late\n"}).ok());
  EXPECT_TRUE(agent_->save("one", {"too late\n"}).ok());
  EXPECT_EQ(shown()["status"], "completed");
  EXPECT_EQ(log("one"), "in time\n");
  api::CommandsResponse commands;
  EXPECT_FALSE(agent_->initial_commands(commands).ok()) << "it must not run";
}

}  // namespace cirrus::controller
