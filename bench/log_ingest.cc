// SPDX-License-Identifier: MIT
// log_ingest: log bytes per second that one controller takes over gRPC and keeps in files, sent as
// our worker sends them (256 KiB chunks with offsets, 4 MiB a stream). `raw` is one task's stream;
// `masked` is what a reference agent would send: no offsets, masked on arrival.
#include <cstring>
#include <memory>

#include <grpcpp/grpcpp.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "cirrus_agent.grpc.pb.h"
#include "cirrus_workers.grpc.pb.h"
#include "controller/controller.h"
#include "net/http_client.h"
#include "os/files.h"
#include "os/temp_dir.h"
#include "stack.h"

namespace cirrus::bench {
namespace {
namespace api = org::cirruslabs::ci::services::cirruscigrpc;
constexpr std::size_t kChunk = 256U << 10U;
constexpr std::size_t kSegment = 4U << 20U;

Error refused(const grpc::Status& status) {
  return Error(Code::Unavailable, status.error_message());
}

class Client {
 public:
  Client(const controller::Controller& controller, std::string token)
      : channel_(grpc::CreateChannel(controller.rpc_endpoint().substr(7),
                                     grpc::InsecureChannelCredentials())),
        token_(std::move(token)) {}

  /// The one task that waits.
  Status take_task() {
    const auto workers = api::CirrusWorkersService::NewStub(channel_);
    grpc::ClientContext context;
    context.AddMetadata("registration-token", token_);
    context.AddMetadata("session-token", "");
    context.AddMetadata("worker-name", "w");
    api::PollRequest request;
    api::PollResponse response;
    const grpc::Status polled = workers->Poll(&context, request, &response);
    if (!polled.ok()) return refused(polled);
    if (response.tasks_to_start_size() != 1) return error(Code::Internal, "got no task");
    task_ = response.tasks_to_start(0);
    return {};
  }
  Result<double> send(const std::string& step, std::size_t bytes, bool offsets) {
    const auto agents = api::CirrusCIService::NewStub(channel_);
    api::LogEntry chunk;
    std::string text;
    while (text.size() < kChunk) text += "a line of a log as builds print them, with a number 42\n";
    text.resize(kChunk);
    chunk.mutable_chunk()->set_data(text);
    const Monotonic start = system_clock().now();
    for (std::size_t sent = 0; sent < bytes; sent += kSegment) {
      grpc::ClientContext context;
      context.AddMetadata("org.cirruslabs.task-id", task_.task_id());
      context.AddMetadata("org.cirruslabs.client-secret", task_.client_secret());
      if (offsets) context.AddMetadata("cirrus-log-offset", std::to_string(sent));
      api::UploadLogsResponse response;
      const auto writer = agents->StreamLogs(&context, &response);
      api::LogEntry key;
      key.mutable_key()->set_command_name(step);
      bool open = writer->Write(key);
      for (std::size_t i = 0; i < kSegment / kChunk && open; ++i) open = writer->Write(chunk);
      writer->WritesDone();
      const grpc::Status status = writer->Finish();
      if (!status.ok()) return refused(status);
    }
    const double seconds = std::chrono::duration<double>(system_clock().now() - start).count();
    return static_cast<double>(bytes) / 1e6 / seconds;
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::string token_;
  api::PollResponse::AgentAwareTask task_;
};

int run(std::size_t bytes) {
  set_log_level(LogLevel::Error);
  const Result<os::TempDir> directory = os::TempDir::create("log-ingest");
  if (!directory.ok()) return give_up(directory.error());
  controller::ControllerOptions options;
  options.data_dir = directory.value().path();
  options.rpc_address = options.http_address = "127.0.0.1:0";
  const auto controller = controller::Controller::start(options, system_clock());
  if (!controller.ok()) return give_up(controller.error());
  const auto secret = [](const std::filesystem::path& file) {
    return std::string(trim(os::read_file(file).value_or("")));
  };
  net::HttpRequest submission;
  submission.method = "POST";
  submission.url = controller.value()->http_url() + "/api/v1/builds";
  submission.headers = {
      {"Authorization", "Bearer " + secret(controller.value()->admin_token_file())}};
  submission.body =
      R"({"config":"task:\n  persistent_worker: {}\n  raw_script: a\n  masked_script: b\n"})";
  const Result<net::HttpResponse> submitted = net::HttpClient().send(submission);
  if (!submitted.ok()) return give_up(submitted.error());
  Client client(*controller.value(), secret(controller.value()->registration_token_file()));
  const Status taken = client.take_task();
  if (!taken.ok()) return give_up(taken.error());
  const struct {
    const char* step;
    bool offsets;
  } kinds[] = {{"raw", true}, {"masked", false}};
  for (const auto& kind : kinds) {
    const Result<double> speed = client.send(kind.step, bytes, kind.offsets);
    if (!speed.ok()) return give_up(speed.error());
    print_figure(fmt::format("log_ingest_{}", kind.step), speed.value(), "MB/s", bytes / kChunk);
  }
  return 0;
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  const bool full = argc > 1 && std::strcmp(argv[1], "--full") == 0;
  return cirrus::bench::run((full ? std::size_t{4096} : std::size_t{1024}) << 20U);
}
