// SPDX-License-Identifier: MIT
// A worker and an agent driven call by call by a test, exactly as the reference ones behave on the
// wire: their metadata, their order, nothing of ours unless asked for.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "cirrus_agent.grpc.pb.h"
#include "cirrus_evaluator.grpc.pb.h"
#include "cirrus_workers.grpc.pb.h"
#include "google/bytestream/bytestream.grpc.pb.h"

namespace cirrus::controller {

namespace api = org::cirruslabs::ci::services::cirruscigrpc;

inline std::shared_ptr<grpc::Channel> channel_to(const std::string& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  return grpc::CreateCustomChannel(endpoint.substr(endpoint.find("://") + 3),
                                   grpc::InsecureChannelCredentials(), arguments);
}

/// What asks for the meaning of configurations.
inline std::unique_ptr<api::CirrusConfigurationEvaluatorService::Stub> evaluator_at(
    const std::string& endpoint) {
  return api::CirrusConfigurationEvaluatorService::NewStub(channel_to(endpoint));
}

class ScriptedWorker {
 public:
  ScriptedWorker(const std::string& endpoint, std::string registration_token, std::string name)
      : stub_(api::CirrusWorkersService::NewStub(channel_to(endpoint))),
        registration_token_(std::move(registration_token)),
        name_(std::move(name)) {
    labels["name"] = name_;
  }

  std::map<std::string, std::string> labels;
  std::map<std::string, double> resources;
  std::string instance;
  std::string features;
  std::string session_token;
  std::vector<std::string> running;
  std::uint64_t number = 0;  ///< of the last poll; 0: they have none

  /// `numbered`: as a worker of ours, which has polled that often.
  grpc::Status register_now(std::uint64_t numbered = 0) {
    grpc::ClientContext context;
    if (numbered != 0) context.AddMetadata("cirrus-poll-number", std::to_string(numbered));
    if (!instance.empty()) context.AddMetadata("cirrus-instance", instance);
    api::RegisterRequest request;
    request.set_registration_token(registration_token_);
    fill(*request.mutable_worker_info());
    api::RegisterResponse response;
    const grpc::Status status = stub_->Register(&context, request, &response);
    if (status.ok()) session_token = response.session_token();
    return status;
  }
  grpc::Status poll(api::PollResponse& response, int seconds = 30) {
    return poll({0, false, session_token, running}, response, seconds);
  }
  /// What one poll says that another one does not; a poll may be said again, later.
  struct Said {
    std::uint64_t number = 0;
    bool leaving = false;
    std::string session_token;
    std::vector<std::string> running;
  };
  Said next_poll(bool leaving = false) { return {++number, leaving, session_token, running}; }
  grpc::Status poll(const Said& said, api::PollResponse& response, int seconds) {
    grpc::ClientContext context;
    identify(context, said.session_token);
    context.set_deadline(system_clock().wall() + std::chrono::seconds(seconds));
    if (!features.empty()) context.AddMetadata("cirrus-features", features);
    if (said.number != 0) context.AddMetadata("cirrus-poll-number", std::to_string(said.number));
    if (said.leaving) context.AddMetadata("cirrus-leaving", "1");
    api::PollRequest request;
    fill(*request.mutable_worker_info());
    for (const std::string& id : said.running) request.add_running_tasks(id);
    return stub_->Poll(&context, request, &response);
  }
  grpc::Status started(const api::PollResponse::AgentAwareTask& task) {
    grpc::ClientContext context;
    identify(context, task);
    google::protobuf::Empty none;
    return stub_->TaskStarted(&context, {}, &none);
  }
  grpc::Status stopped(const api::PollResponse::AgentAwareTask& task) {
    grpc::ClientContext context;
    identify(context, task);
    google::protobuf::Empty none;
    return stub_->TaskStopped(&context, {}, &none);
  }
  grpc::Status failed(const api::PollResponse::AgentAwareTask& task, const std::string& message) {
    grpc::ClientContext context;
    identify(context, task);
    google::protobuf::Empty none;
    api::TaskFailedRequest request;
    request.set_message(message);
    return stub_->TaskFailed(&context, request, &none);
  }
  grpc::Status update_status(bool disabled, api::WorkerStatus& now) {
    grpc::ClientContext context;
    context.AddMetadata("registration-token", registration_token_);
    context.AddMetadata("session-token", "");
    context.AddMetadata("worker-name", name_);
    api::UpdateStatusRequest request;
    request.set_disabled(disabled);
    return stub_->UpdateStatus(&context, request, &now);
  }
  grpc::Status query_running(api::QueryRunningTasksResponse& response) {
    grpc::ClientContext context;
    context.AddMetadata("registration-token", registration_token_);
    context.AddMetadata("session-token", "");
    context.AddMetadata("worker-name", name_);
    return stub_->QueryRunningTasks(&context, {}, &response);
  }

 private:
  void fill(api::WorkerInfo& info) const {
    for (const auto& [key, value] : labels) (*info.mutable_labels())[key] = value;
    for (const auto& [key, value] : resources) (*info.mutable_resources_total())[key] = value;
  }
  void identify(grpc::ClientContext& context) const { identify(context, session_token); }
  void identify(grpc::ClientContext& context, const std::string& session) const {
    context.AddMetadata("registration-token", registration_token_);
    context.AddMetadata("session-token", session);
    context.AddMetadata("worker-name", name_);
    if (!instance.empty()) context.AddMetadata("cirrus-instance", instance);
  }
  void identify(grpc::ClientContext& context, const api::PollResponse::AgentAwareTask& task) const {
    identify(context);
    context.AddMetadata("org.cirruslabs.task-id", task.task_id());
    context.AddMetadata("org.cirruslabs.client-secret", task.client_secret());
  }

  const std::unique_ptr<api::CirrusWorkersService::Stub> stub_;
  const std::string registration_token_;
  const std::string name_;
};

/// The one task that `worker` is given next, started. An empty one, and a failure of the test, if
/// there is none.
inline api::PollResponse::AgentAwareTask take_one(ScriptedWorker& worker, int seconds = 30) {
  api::PollResponse response;
  EXPECT_TRUE(worker.poll(response, seconds).ok());
  EXPECT_EQ(response.tasks_to_start_size(), 1);
  if (response.tasks_to_start_size() != 1) return {};
  EXPECT_TRUE(worker.started(response.tasks_to_start(0)).ok());
  return response.tasks_to_start(0);
}

class ScriptedAgent {
 public:
  ScriptedAgent(const std::string& endpoint, std::string task_id, std::string secret)
      : endpoint_(endpoint),
        stub_(api::CirrusCIService::NewStub(channel_to(endpoint))),
        task_id_(std::move(task_id)),
        secret_(std::move(secret)) {}

  /// What the last stream said of it; empty: nothing.
  std::string last_synced;

  grpc::Status initial_commands(api::CommandsResponse& response) {
    grpc::ClientContext context;
    identify(context);
    return stub_->InitialCommands(&context, {}, &response);
  }
  /// `after` as our gateway says it: by step, the bytes that were acknowledged.
  grpc::Status update(const std::vector<std::pair<std::string, api::Status>>& states,
                      const std::vector<std::string>& after = {}) {
    grpc::ClientContext context;
    identify(context);
    for (const std::string& position : after) context.AddMetadata("cirrus-log-after-bin", position);
    api::ReportCommandUpdatesRequest request;
    for (const auto& [name, status] : states) {
      api::CommandResult& result = *request.add_updates();
      result.set_name(name);
      result.set_status(status);
      result.set_duration_in_nanos(5'000'000);
    }
    api::ReportCommandUpdatesResponse none;
    return stub_->ReportCommandUpdates(&context, request, &none);
  }
  /// Streams chunks; with an offset as our gateway does. `stored` gets the acknowledgement.
  grpc::Status stream(const std::string& step, const std::vector<std::string>& chunks,
                      const std::string& offset = {}, std::int64_t* stored = nullptr) {
    return send(step, chunks, offset, stored, false);
  }
  grpc::Status save(const std::string& step, const std::vector<std::string>& chunks) {
    return send(step, chunks, {}, nullptr, true);
  }
  /// For calls that have no method here: who it is, and the stub.
  void identify(grpc::ClientContext& context) const {
    context.AddMetadata("org.cirruslabs.task-id", task_id_);
    context.AddMetadata("org.cirruslabs.client-secret", secret_);
    context.AddMetadata("org.cirruslabs.api-endpoint", endpoint_);
  }
  api::CirrusCIService::Stub& stub() const { return *stub_; }
  /// As a reference agent stores a cache: asks for the address, then writes there.
  grpc::Status write_cache(const std::string& key, const std::vector<std::string>& chunks,
                           bool finish = true) {
    grpc::ClientContext asking;
    identify(asking);
    api::CacheKey request;
    request.set_cache_key(key);
    api::GenerateURLResponse address;
    const grpc::Status answered = stub_->GenerateCacheUploadURL(&asking, request, &address);
    if (!answered.ok()) return answered;
    grpc::ClientContext context;
    identify(context);
    google::bytestream::WriteResponse response;
    const auto bytes = bytes_at(address.url());
    const auto writer = bytes->Write(&context, &response);
    google::bytestream::WriteRequest message;
    std::int64_t offset = 0;
    for (const std::string& chunk : chunks) {
      message.set_resource_name(key);
      message.set_write_offset(offset);
      message.set_data(chunk);
      if (!writer->Write(message)) break;
      offset += static_cast<std::int64_t>(chunk.size());
    }
    message.clear_data();
    message.set_resource_name(key);
    message.set_write_offset(offset);
    message.set_finish_write(true);
    if (finish) writer->Write(message);
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    EXPECT_TRUE(!status.ok() || response.committed_size() == offset);
    return status;
  }
  /// `ours`: as an agent of ours asks.
  grpc::Status read_cache(const std::string& key, std::string& content, bool ours = false) {
    grpc::ClientContext asking;
    identify(asking);
    if (ours) asking.AddMetadata("cirrus-features", "log-offsets");
    api::CacheKey request;
    request.set_cache_key(key);
    api::GenerateURLsResponse addresses;
    const grpc::Status answered = stub_->GenerateCacheDownloadURLs(&asking, request, &addresses);
    if (!answered.ok()) return answered;
    grpc::ClientContext context;
    identify(context);
    google::bytestream::ReadRequest read;
    read.set_resource_name(key);
    const auto bytes = bytes_at(addresses.urls(0));
    const auto reader = bytes->Read(&context, read);
    google::bytestream::ReadResponse piece;
    while (reader->Read(&piece)) content += piece.data();
    return reader->Finish();
  }
  grpc::Status cache_info(const std::string& key, const std::vector<std::string>& prefixes,
                          api::CacheInfoResponse& response) {
    grpc::ClientContext context;
    identify(context);
    api::CacheInfoRequest request;
    request.set_cache_key(key);
    for (const std::string& prefix : prefixes) request.add_cache_key_prefixes(prefix);
    return stub_->CacheInfo(&context, request, &response);
  }
  grpc::Status delete_cache(const std::string& key) {
    grpc::ClientContext context;
    identify(context);
    api::DeleteCacheRequest request;
    request.set_cache_key(key);
    api::DeleteCacheResponse none;
    return stub_->DeleteCache(&context, request, &none);
  }
  /// Pairs of path and bytes; a path may come several times in a row.
  grpc::Status upload_artifacts(const std::string& name,
                                const std::vector<std::pair<std::string, std::string>>& chunks) {
    grpc::ClientContext context;
    identify(context);
    api::UploadArtifactsResponse response;
    const auto writer = stub_->UploadArtifacts(&context, &response);
    api::ArtifactEntry entry;
    entry.mutable_artifacts_upload()->set_name(name);
    entry.mutable_artifacts_upload()->set_type("text/plain");
    bool open = writer->Write(entry);
    for (const auto& [path, data] : chunks) {
      entry.mutable_chunk()->set_artifact_path(path);
      entry.mutable_chunk()->set_data(data);
      open = open && writer->Write(entry);
    }
    writer->WritesDone();
    return writer->Finish();
  }
  grpc::Status warn(const std::string& message) {
    grpc::ClientContext context;
    identify(context);
    api::ReportAgentProblemRequest request;
    request.set_message(message);
    google::protobuf::Empty none;
    return stub_->ReportAgentWarning(&context, request, &none);
  }
  grpc::Status annotate(const std::string& message) {
    grpc::ClientContext context;
    identify(context);
    api::ReportAnnotationsCommandRequest request;
    request.add_annotations()->set_message(message);
    google::protobuf::Empty none;
    return stub_->ReportAnnotations(&context, request, &none);
  }
  grpc::Status heartbeat() {
    grpc::ClientContext context;
    identify(context);
    api::HeartbeatResponse none;
    return stub_->Heartbeat(&context, {}, &none);
  }
  grpc::Status finished(const std::vector<std::pair<std::string, api::Status>>& results) {
    grpc::ClientContext context;
    identify(context);
    api::ReportAgentFinishedRequest request;
    for (const auto& [name, status] : results) {
      api::CommandResult& result = *request.add_command_results();
      result.set_name(name);
      result.set_status(status);
    }
    api::ReportAgentFinishedResponse none;
    return stub_->ReportAgentFinished(&context, request, &none);
  }

 private:
  /// A channel of its own for the transfer. Source: protocol §1.1.
  static std::unique_ptr<google::bytestream::ByteStream::Stub> bytes_at(const std::string& url) {
    EXPECT_TRUE(url.starts_with("grpc://")) << url;
    return google::bytestream::ByteStream::NewStub(
        channel_to("http://" + url.substr(std::string("grpc://").size())));
  }
  grpc::Status send(const std::string& step, const std::vector<std::string>& chunks,
                    const std::string& offset, std::int64_t* stored, bool save) {
    grpc::ClientContext context;
    identify(context);
    if (!offset.empty()) context.AddMetadata("cirrus-log-offset", offset);
    context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    api::UploadLogsResponse response;
    const auto writer =
        save ? stub_->SaveLogs(&context, &response) : stub_->StreamLogs(&context, &response);
    api::LogEntry entry;
    entry.mutable_key()->set_command_name(step);
    entry.mutable_key()->set_raw(save);
    bool open = writer->Write(entry);
    for (const std::string& chunk : chunks) {
      entry.mutable_chunk()->set_data(chunk);
      open = open && writer->Write(entry);
    }
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    if (stored != nullptr) *stored = response.bytes_logged();
    const auto synced = context.GetServerTrailingMetadata().find("cirrus-log-synced");
    last_synced = synced == context.GetServerTrailingMetadata().end()
                      ? std::string()
                      : std::string(synced->second.data(), synced->second.size());
    return status;
  }

  const std::string endpoint_;
  const std::unique_ptr<api::CirrusCIService::Stub> stub_;
  const std::string task_id_;
  const std::string secret_;
};

}  // namespace cirrus::controller
