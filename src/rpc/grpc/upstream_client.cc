// SPDX-License-Identifier: MIT
#include "rpc/grpc/upstream_client.h"

#include <charconv>
#include <fstream>
#include <sstream>

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "cirrus_agent.grpc.pb.h"
#include "cirrus_workers.grpc.pb.h"
#include "rpc/grpc/client_call.h"
#include "rpc/grpc/shell_client.h"
#include "rpc/grpc/status.h"
#include "rpc/grpc/tls_hint.h"
#include "rpc/grpc/upstream_blobs.h"

namespace cirrus::rpc {

namespace {

constexpr int kMaxMessage = 64 << 20;  // Source: protocol, sizes: a server should take 64 MiB.

grpc::ChannelArguments channel_arguments(const std::string& proxy) {
  grpc::ChannelArguments arguments;
  // The library applies lower-case proxy variables to loopback too; the proxy was decided by us.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, proxy.empty() ? 0 : 1);
  if (!proxy.empty()) arguments.SetString(GRPC_ARG_HTTP_PROXY, proxy);
  // Ours (design 3.8): the default back-off turned an outage of 3 s into 5 s.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // What this sets is how long one attempt may take: TLS wants three round trips of up to 2 s.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Finds a half-open connection in less than 30 s.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 15000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Otherwise both channels would share one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(kMaxMessage);
  arguments.SetMaxSendMessageSize(kMaxMessage);
  return arguments;
}

Result<std::string> read_pem(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path);
  if (!file) return error(Code::InvalidArgument, "cannot read PEM file '{}'", path);
  std::ostringstream text;
  text << file.rdbuf();
  if (text.str().find("-----BEGIN ") == std::string::npos) {
    return error(Code::InvalidArgument, "'{}' holds nothing in PEM form", path);
  }
  return text.str();
}

Result<std::shared_ptr<grpc::ChannelCredentials>> credentials_of(const UpstreamOptions& options) {
  if (!options.endpoint.tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = CIRRUS_TRY(read_pem(options.ca_file));
  ssl.pem_cert_chain = CIRRUS_TRY(read_pem(options.certificate_file));
  ssl.pem_private_key = CIRRUS_TRY(read_pem(options.key_file));
  return grpc::SslCredentials(ssl);
}

class GrpcLogStream final : public LogStream {
 public:
  GrpcLogStream(pb::CirrusCIService::Stub& stub, const TaskCredential& task,
                const std::string& endpoint, const std::string& step, std::uint64_t offset,
                const StopToken& stop)
      : call_(stop, nullptr) {
    add_task(call_.context, task);
    call_.context.AddMetadata(kApiEndpoint, endpoint);
    call_.context.AddMetadata(kFeatures, Features::ours().to_string());
    call_.context.AddMetadata(kLogOffset, std::to_string(offset));
    writer_ = stub.StreamLogs(&call_.context, &response_);
    pb::LogEntry entry;
    *entry.mutable_key()->mutable_task_identification() = identification(task);
    entry.mutable_key()->set_command_name(step);
    (void)writer_->Write(entry);
  }
  ~GrpcLogStream() override {
    if (finished_) return;
    call_.context.TryCancel();
    (void)writer_->Finish();
  }

  Result<std::optional<std::uint64_t>> stored() override {
    writer_->WaitForInitialMetadata();
    const std::string text = first_value(call_.context.GetServerInitialMetadata(), kLogStored);
    if (text.empty()) return std::optional<std::uint64_t>();
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    if (parsed.ec != std::errc()) {
      return error(Code::Internal, "the server sent '{}' as a log offset", text);
    }
    return std::optional(number);
  }
  Status write(std::string_view bytes) override {
    pb::LogEntry entry;
    entry.mutable_chunk()->set_data(bytes.data(), bytes.size());
    if (writer_->Write(entry)) return {};
    return error(Code::Unavailable, "the log stream broke");
  }
  Result<LogAck> finish() override {
    finished_ = true;
    (void)writer_->WritesDone();
    CIRRUS_TRY(from_grpc(writer_->Finish()));
    LogAck ack{static_cast<std::uint64_t>(response_.bytes_logged())};
    const std::string synced = first_value(call_.context.GetServerTrailingMetadata(), kLogSynced);
    // What is no number is not said.
    (void)std::from_chars(synced.data(), synced.data() + synced.size(), ack.synced);
    return ack;
  }

 private:
  Call call_;
  pb::UploadLogsResponse response_;
  std::unique_ptr<grpc::ClientWriter<pb::LogEntry>> writer_;
  bool finished_ = false;
};

class GrpcTaskService final : public TaskService {
 public:
  GrpcTaskService(std::shared_ptr<grpc::Channel> control, std::shared_ptr<grpc::Channel> bulk,
                  Endpoint endpoint, Dial dial, TaskCredential credential)
      : control_(pb::CirrusCIService::NewStub(control)),
        bulk_(pb::CirrusCIService::NewStub(bulk)),
        endpoint_(endpoint.text),
        credential_(credential),
        blobs_(std::move(control), std::move(bulk), std::move(endpoint), std::move(dial),
               std::move(credential)) {}

  Result<pb::CommandsResponse> initial_commands(const pb::InitialCommandsRequest& request,
                                                const StopToken& stop,
                                                Monotonic deadline) override {
    pb::CommandsResponse response;
    CIRRUS_TRY(
        unary(&pb::CirrusCIService::Stub::InitialCommands, request, response, stop, deadline));
    return response;
  }
  Status report_updates(const pb::ReportCommandUpdatesRequest& request, const LogPositions& after,
                        const StopToken& stop, Monotonic deadline) override {
    pb::ReportCommandUpdatesResponse response;
    return unary(&pb::CirrusCIService::Stub::ReportCommandUpdates, request, response, stop,
                 deadline, after);
  }
  Status report_finished(const pb::ReportAgentFinishedRequest& request, const LogPositions& after,
                         const StopToken& stop, Monotonic deadline) override {
    pb::ReportAgentFinishedResponse response;
    return unary(&pb::CirrusCIService::Stub::ReportAgentFinished, request, response, stop, deadline,
                 after);
  }
  Status report_warning(const pb::ReportAgentProblemRequest& request, const StopToken& stop,
                        Monotonic deadline) override {
    google::protobuf::Empty response;
    return unary(&pb::CirrusCIService::Stub::ReportAgentWarning, request, response, stop, deadline);
  }
  Status report_error(const pb::ReportAgentProblemRequest& request, const StopToken& stop,
                      Monotonic deadline) override {
    google::protobuf::Empty response;
    return unary(&pb::CirrusCIService::Stub::ReportAgentError, request, response, stop, deadline);
  }
  Status report_signal(const pb::ReportAgentSignalRequest& request, const StopToken& stop,
                       Monotonic deadline) override {
    google::protobuf::Empty response;
    return unary(&pb::CirrusCIService::Stub::ReportAgentSignal, request, response, stop, deadline);
  }
  Status report_annotations(const pb::ReportAnnotationsCommandRequest& request,
                            const StopToken& stop, Monotonic deadline) override {
    google::protobuf::Empty response;
    return unary(&pb::CirrusCIService::Stub::ReportAnnotations, request, response, stop, deadline);
  }
  Status heartbeat(const StopToken& stop, Monotonic deadline) override {
    pb::HeartbeatResponse response;
    return unary(&pb::CirrusCIService::Stub::Heartbeat, pb::HeartbeatRequest(), response, stop,
                 deadline);
  }
  std::unique_ptr<LogStream> open_log(const std::string& step, std::uint64_t offset,
                                      const StopToken& stop) override {
    return std::make_unique<GrpcLogStream>(*bulk_, credential_, endpoint_, step, offset, stop);
  }
  Status save_log(const std::string& step, const std::function<Result<std::string>()>& read,
                  const StopToken& stop, Monotonic deadline) override {
    Call call(stop, deadline);
    prepare(call);
    pb::UploadLogsResponse response;
    const std::unique_ptr<grpc::ClientWriter<pb::LogEntry>> writer =
        bulk_->SaveLogs(&call.context, &response);
    pb::LogEntry entry;
    *entry.mutable_key()->mutable_task_identification() = identification(credential_);
    entry.mutable_key()->set_command_name(step);
    entry.mutable_key()->set_raw(true);
    bool open = writer->Write(entry);
    Status read_status;
    while (open) {
      Result<std::string> bytes = read();
      if (!bytes.ok()) {
        read_status = std::move(bytes).error();
        call.context.TryCancel();
        break;
      }
      if (bytes.value().empty()) break;
      pb::LogEntry chunk;
      *chunk.mutable_chunk()->mutable_data() = std::move(bytes).value();
      open = writer->Write(chunk);
    }
    (void)writer->WritesDone();
    const grpc::Status status = writer->Finish();
    if (!read_status.ok()) return read_status;
    return from_grpc(status);
  }
  Result<std::optional<CacheFound>> find_cache(const std::string& key,
                                               const std::vector<std::string>& prefixes,
                                               const StopToken& stop, Monotonic deadline) override {
    return blobs_.find_cache(key, prefixes, stop, deadline);
  }
  Result<std::unique_ptr<BlobSource>> read_cache(const std::string& key,
                                                 const StopToken& stop) override {
    return blobs_.read_cache(key, stop);
  }
  Result<std::unique_ptr<BlobSink>> write_cache(const std::string& key,
                                                const StopToken& stop) override {
    return blobs_.write_cache(key, stop);
  }
  Status delete_cache(const std::string& key, const StopToken& stop, Monotonic deadline) override {
    return blobs_.delete_cache(key, stop, deadline);
  }
  Result<std::unique_ptr<ArtifactSink>> write_artifacts(const ArtifactSet& set,
                                                        const StopToken& stop) override {
    return blobs_.write_artifacts(set, stop);
  }

 private:
  void prepare(Call& call) const {
    add_task(call.context, credential_);
    call.context.AddMetadata(kApiEndpoint, endpoint_);
    call.context.AddMetadata(kFeatures, Features::ours().to_string());
  }

  template <typename Method, typename Request, typename Response>
  Status unary(Method method, Request request, Response& response, const StopToken& stop,
               Monotonic deadline, const LogPositions& after = {}) {
    Call call(stop, deadline);
    prepare(call);
    for (const auto& [step, bytes] : after) {
      call.context.AddMetadata(kLogAfter, std::to_string(bytes) + " " + step);
    }
    *request.mutable_task_identification() = identification(credential_);
    return from_grpc(((*control_).*method)(&call.context, request, &response));
  }

  std::unique_ptr<pb::CirrusCIService::Stub> control_;
  std::unique_ptr<pb::CirrusCIService::Stub> bulk_;
  std::string endpoint_;
  TaskCredential credential_;
  UpstreamBlobs blobs_;
};

/// Channels to addresses a server names, under the same rules as the one to itself.
Dial dial_with(const UpstreamOptions& options) {
  return [options](const Endpoint& endpoint) -> Result<std::shared_ptr<grpc::Channel>> {
    UpstreamOptions other = options;
    other.endpoint = endpoint;
    const std::shared_ptr<grpc::ChannelCredentials> credentials = CIRRUS_TRY(credentials_of(other));
    return grpc::CreateCustomChannel(endpoint.target, credentials,
                                     channel_arguments(options.proxy));
  };
}

class GrpcUpstream final : public Upstream {
 public:
  GrpcUpstream(UpstreamOptions options, std::shared_ptr<grpc::Channel> control,
               std::shared_ptr<grpc::Channel> bulk)
      : options_(std::move(options)),
        control_(std::move(control)),
        bulk_(std::move(bulk)),
        stub_(pb::CirrusWorkersService::NewStub(control_)) {}

  const std::string& endpoint() const override { return options_.endpoint.text; }

  Result<RegisterReply> register_worker(const pb::WorkerInfo& info, std::uint64_t number,
                                        const StopToken& stop, Monotonic deadline) override {
    Call call(stop, deadline);
    add_ours(call);
    call.context.AddMetadata(kPollNumber, std::to_string(number));
    pb::RegisterRequest request;
    request.set_registration_token(options_.identity.registration_token.reveal());
    *request.mutable_worker_info() = info;
    pb::RegisterResponse response;
    CIRRUS_TRY(with_tls_hint(from_grpc(stub_->Register(&call.context, request, &response))));
    return RegisterReply{Secret(response.session_token()), call.server_features()};
  }
  Result<PollReply> poll(const pb::PollRequest& request, const PollContext& context,
                         const StopToken& stop, Monotonic deadline) override {
    Call call(stop, deadline);
    add_worker(call, context.session);
    call.context.AddMetadata(kPollNumber, std::to_string(context.number));
    if (context.draining) call.context.AddMetadata(kDraining, "1");
    if (context.leaving) call.context.AddMetadata(kLeaving, "1");
    PollReply reply;
    CIRRUS_TRY(with_tls_hint(from_grpc(stub_->Poll(&call.context, request, &reply.response))));
    reply.server = call.server_features();
    return reply;
  }
  Status task_started(const Secret& session, const TaskCredential& task, const StopToken& stop,
                      Monotonic deadline) override {
    Call call(stop, deadline);
    add_worker(call, session);
    add_task(call.context, task);
    google::protobuf::Empty response;
    return from_grpc(stub_->TaskStarted(&call.context, identification(task), &response));
  }
  Status task_failed(const Secret& session, const TaskCredential& task, const std::string& message,
                     const StopToken& stop, Monotonic deadline) override {
    Call call(stop, deadline);
    add_worker(call, session);
    add_task(call.context, task);
    pb::TaskFailedRequest request;
    *request.mutable_task_identification() = identification(task);
    request.set_message(message);
    google::protobuf::Empty response;
    return from_grpc(stub_->TaskFailed(&call.context, request, &response));
  }
  Status task_stopped(const Secret& session, const TaskCredential& task, const StopToken& stop,
                      Monotonic deadline) override {
    Call call(stop, deadline);
    add_worker(call, session);
    add_task(call.context, task);
    google::protobuf::Empty response;
    return from_grpc(stub_->TaskStopped(&call.context, identification(task), &response));
  }
  Result<bool> set_disabled(bool disabled, const StopToken& stop, Monotonic deadline) override {
    Call call(stop, deadline);
    add_worker(call, Secret());
    pb::UpdateStatusRequest request;
    request.set_disabled(disabled);
    pb::WorkerStatus response;
    CIRRUS_TRY(from_grpc(stub_->UpdateStatus(&call.context, request, &response)));
    return response.disabled();
  }
  Result<RunningTasks> running_tasks(const StopToken& stop, Monotonic deadline) override {
    Call call(stop, deadline);
    add_worker(call, Secret());
    pb::QueryRunningTasksResponse response;
    CIRRUS_TRY(from_grpc(
        stub_->QueryRunningTasks(&call.context, pb::QueryRunningTasksRequest(), &response)));
    std::vector<std::string> ids(response.running_tasks().begin(), response.running_tasks().end());
    if (ids.empty()) {
      for (const std::int64_t id : response.old_running_tasks()) ids.push_back(std::to_string(id));
    }
    return RunningTasks{std::move(ids), response.status().disabled()};
  }
  std::unique_ptr<TaskService> task_service(TaskCredential credential) override {
    return std::make_unique<GrpcTaskService>(control_, bulk_, options_.endpoint,
                                             dial_with(options_), std::move(credential));
  }
  std::unique_ptr<ShellLink> shells(std::function<Secret()> session) override {
    return make_shell_client(
        [channel = control_] { return channel; },
        [this, session = std::move(session)] {
          CallMetadata metadata{{kRegistrationToken, options_.identity.registration_token.reveal()},
                                {kSessionToken, session().reveal()},
                                {kWorkerName, options_.identity.worker_name}};
          if (!options_.identity.instance.empty()) {
            metadata.emplace_back(kInstance, options_.identity.instance);
          }
          return metadata;
        });
  }

 private:
  void add_ours(Call& call) const {
    call.context.AddMetadata(kFeatures, Features::ours().to_string());
    if (!options_.identity.instance.empty()) {
      call.context.AddMetadata(kInstance, options_.identity.instance);
    }
  }
  // Source: protocol, metadata table: `pause` and `resume` send an empty session token.
  void add_worker(Call& call, const Secret& session) const {
    add_ours(call);
    call.context.AddMetadata(kRegistrationToken, options_.identity.registration_token.reveal());
    call.context.AddMetadata(kSessionToken, session.reveal());
    call.context.AddMetadata(kWorkerName, options_.identity.worker_name);
  }

  UpstreamOptions options_;
  std::shared_ptr<grpc::Channel> control_;
  std::shared_ptr<grpc::Channel> bulk_;
  std::unique_ptr<pb::CirrusWorkersService::Stub> stub_;
};

}  // namespace

Result<std::unique_ptr<Upstream>> make_upstream(UpstreamOptions options) {
  const std::shared_ptr<grpc::ChannelCredentials> credentials = CIRRUS_TRY(credentials_of(options));
  std::shared_ptr<grpc::Channel> control = grpc::CreateCustomChannel(
      options.endpoint.target, credentials, channel_arguments(options.proxy));
  std::shared_ptr<grpc::Channel> bulk = grpc::CreateCustomChannel(
      options.endpoint.target, credentials, channel_arguments(options.proxy));
  return std::unique_ptr<Upstream>(
      std::make_unique<GrpcUpstream>(std::move(options), std::move(control), std::move(bulk)));
}

Status probe_endpoint(const UpstreamOptions& options, Monotonic deadline) {
  const std::shared_ptr<grpc::ChannelCredentials> credentials = CIRRUS_TRY(credentials_of(options));
  const std::shared_ptr<grpc::Channel> channel = grpc::CreateCustomChannel(
      options.endpoint.target, credentials, channel_arguments(options.proxy));
  const std::unique_ptr<pb::CirrusWorkersService::Stub> stub =
      pb::CirrusWorkersService::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(to_deadline(deadline));
  pb::QueryRunningTasksResponse response;
  const grpc::Status status =
      stub->QueryRunningTasks(&context, pb::QueryRunningTasksRequest(), &response);
  // Any answer of the server, a refusal included, proves that it was reached.
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED: return with_tls_hint(from_grpc(status));
    default: return {};
  }
}

Result<std::unique_ptr<TaskService>> make_task_service(const Endpoint& endpoint,
                                                       TaskCredential credential) {
  UpstreamOptions options;
  options.endpoint = endpoint;
  const std::shared_ptr<grpc::ChannelCredentials> credentials = CIRRUS_TRY(credentials_of(options));
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(endpoint.target, credentials, channel_arguments({}));
  return std::unique_ptr<TaskService>(std::make_unique<GrpcTaskService>(
      channel, channel, endpoint, dial_with(options), std::move(credential)));
}

}  // namespace cirrus::rpc
