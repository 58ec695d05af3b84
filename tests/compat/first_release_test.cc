// SPDX-License-Identifier: MIT
// A worker of the first release on today's controller: its messages, byte for byte, and only the
// features it knew. The folder `data/first` says where its other messages are tested.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include "cirrus_gateway.pb.h"
#include "cirrus_worker_state.pb.h"
#include "controller/testing/controller_fixture.h"

namespace cirrus::controller {

namespace {
namespace pb = google::protobuf;
using Assigned = api::PollResponse::AgentAwareTask;

const std::filesystem::path kData = CIRRUS_SOURCE_DIR "/tests/compat/data/first";

std::string bytes_of(const pb::Message& message) {
  std::string bytes;
  pb::io::StringOutputStream raw(&bytes);
  pb::io::CodedOutputStream coded(&raw);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

/// The bytes a text stands for; its first line names the message.
std::string encode(const std::string& text) {
  // So that the linker keeps the files of those that nothing else here uses.
  static_cast<void>(gateway::v1::Bootstrap::descriptor());
  static_cast<void>(worker::v1::TaskRecord::descriptor());
  const std::string name(trim(text.substr(1, text.find('\n') - 1)));
  const pb::Descriptor* const type =
      pb::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  EXPECT_NE(type, nullptr) << "no message '" << name << "'";
  if (type == nullptr) return {};
  const std::unique_ptr<pb::Message> message(
      pb::MessageFactory::generated_factory()->GetPrototype(type)->New());
  EXPECT_TRUE(pb::TextFormat::ParseFromString(text, message.get()));
  return bytes_of(*message);
}

template <typename Message>
Message saved(const char* name) {
  Message message;
  EXPECT_TRUE(message.ParseFromString(os::read_file(kData / name).value())) << name;
  return message;
}

/// What such a worker sends: the session's metadata and what it announced, nothing else.
class FirstRelease : public ControllerTest {
 protected:
  void SetUp() override {
    ControllerTest::SetUp();
    stub_ = api::CirrusWorkersService::NewStub(channel_to(controller_->rpc_endpoint()));
    token_ = token(controller_->registration_token_file());
  }
  void identify(grpc::ClientContext& context) const {
    context.AddMetadata("registration-token", token_);
    context.AddMetadata("session-token", session_);
    context.AddMetadata("worker-name", "w1");
  }
  void register_now() {
    grpc::ClientContext context;
    auto request = saved<api::RegisterRequest>("register.pb");
    request.set_registration_token(token_);
    api::RegisterResponse response;
    ASSERT_TRUE(stub_->Register(&context, request, &response).ok());
    session_ = response.session_token();
  }
  /// Until something is assigned; a worker that cannot be held for long polls again.
  Assigned take(const std::string& features) {
    const auto request = saved<api::PollRequest>("poll.pb");
    for (int i = 0; i < 10; ++i) {
      grpc::ClientContext context;
      identify(context);
      if (!features.empty()) context.AddMetadata("cirrus-features", features);
      context.set_deadline(system_clock().wall() + std::chrono::seconds(60));
      api::PollResponse response;
      const grpc::Status polled = stub_->Poll(&context, request, &response);
      EXPECT_TRUE(polled.ok()) << polled.error_message();
      if (response.tasks_to_start_size() > 0) return response.tasks_to_start(0);
    }
    ADD_FAILURE() << "nothing was assigned";
    return {};
  }
  void tell(const Assigned& task,
            grpc::Status (api::CirrusWorkersService::Stub::*method)(grpc::ClientContext*,
                                                                    const api::TaskIdentification&,
                                                                    pb::Empty*)) {
    grpc::ClientContext context;
    identify(context);
    context.AddMetadata("org.cirruslabs.task-id", task.task_id());
    context.AddMetadata("org.cirruslabs.client-secret", task.client_secret());
    pb::Empty none;
    EXPECT_TRUE(((*stub_).*method)(&context, {}, &none).ok());
  }

  std::unique_ptr<api::CirrusWorkersService::Stub> stub_;
  std::string token_;
  std::string session_;
};
}  // namespace

TEST_F(FirstRelease, TheBytesAreWhatTheTextsSay) {
  const bool writes = std::getenv("CIRRUS_UPDATE_GOLDEN") != nullptr;
  int texts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData)) {
    if (entry.path().extension() != ".txtpb") continue;
    SCOPED_TRACE(entry.path().filename());
    ++texts;
    const std::string bytes = encode(os::read_file(entry.path()).value());
    std::filesystem::path binary = entry.path();
    binary.replace_extension(".pb");
    if (writes) {
      ASSERT_TRUE(os::write_file(binary, bytes, 0644).ok());
    } else {
      EXPECT_EQ(os::read_file(binary).value(), bytes);
    }
  }
  EXPECT_EQ(texts, 9);
  if (writes) GTEST_SKIP() << "written anew";
}

TEST_F(FirstRelease, ItsWorkerRunsTasksWithWhateverItKnew) {
  register_now();
  for (const char* features : {"", "hold", "hold,commands", "hold,log-offsets,of-the-future"}) {
    SCOPED_TRACE(features);
    const auto build = submit("task:\n  persistent_worker: {}\n  main_script: true\n");
    const Assigned task = take(features);
    const bool inlined = std::string_view(features).find("commands") != std::string_view::npos;
    EXPECT_EQ(task.has_cirrus_commands(), inlined) << "commands ride along only if it asked";
    tell(task, &api::CirrusWorkersService::Stub::TaskStarted);
    ScriptedAgent its_agent = agent(task);
    api::CommandsResponse commands;
    EXPECT_TRUE(its_agent.initial_commands(commands).ok());
    EXPECT_EQ(commands.commands_size(), 1);
    EXPECT_TRUE(its_agent.stream("main", {"hello\n"}).ok());
    EXPECT_TRUE(its_agent.finished({{"main", api::COMPLETED}}).ok());
    tell(task, &api::CirrusWorkersService::Stub::TaskStopped);
    const std::string id = build["id"];
    EXPECT_EQ(get("/api/v1/builds/" + id)["build"]["status"], "completed");
    EXPECT_EQ(call("GET", "/api/v1/tasks/" + task.task_id() + "/logs/main").body, "hello\n");
  }
  EXPECT_EQ(get("/api/v1/workers/default/w1")["worker"]["resources"]["cpu"], 4);
}

}  // namespace cirrus::controller
