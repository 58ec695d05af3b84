// SPDX-License-Identifier: MIT
#include "reference_server.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "cirrus_agent.grpc.pb.h"
#include "cirrus_workers.grpc.pb.h"

namespace cirrus::tests {

namespace {

using google::protobuf::Empty;
using State = ReferenceServer::State;

constexpr char kPoolToken[] = "pool-token";

std::string value_of(const grpc::ServerContext& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return "<absent>";
  return {found->second.data(), found->second.size()};
}

std::string name_of(int code) {
  switch (code) {
    case grpc::UNAVAILABLE: return "UNAVAILABLE";
    case grpc::UNAUTHENTICATED: return "UNAUTHENTICATED";
    case grpc::NOT_FOUND: return "NOT_FOUND";
    case grpc::UNIMPLEMENTED: return "UNIMPLEMENTED";
    case grpc::DEADLINE_EXCEEDED: return "DEADLINE_EXCEEDED";
    default: return std::to_string(code);
  }
}

// Writes the call down and answers it as scripted.
grpc::Status heard(State& state, const std::string& method, const std::string& line) {
  std::deque<int>& failures = state.failures[method];
  if (failures.empty()) {
    state.trace.push_back(line);
    return grpc::Status::OK;
  }
  const int code = failures.front();
  failures.pop_front();
  state.trace.push_back(line + " ! " + name_of(code));
  return {static_cast<grpc::StatusCode>(code), "scripted"};
}

}  // namespace

class ReferenceServer::Workers final : public pb::CirrusWorkersService::Service {
 public:
  explicit Workers(Guarded<State>& state) : state_(state) {}

  grpc::Status Register(grpc::ServerContext*, const pb::RegisterRequest* request,
                        pb::RegisterResponse* response) override {
    return state_.update([&](State& state) -> grpc::Status {
      const grpc::Status status = heard(state, "Register", "Register");
      if (!status.ok()) return status;
      if (request->registration_token() != kPoolToken) {
        return {grpc::PERMISSION_DENIED, "unknown registration token"};
      }
      ++state.registrations;
      if (state.stateless) return status;
      response->set_session_token(fmt::format("session-{}", state.registrations));
      state.sessions.insert(response->session_token());
      return status;
    });
  }
  grpc::Status Poll(grpc::ServerContext* context, const pb::PollRequest* request,
                    pb::PollResponse* response) override {
    return state_.update([&](State& state) -> grpc::Status {
      std::string line = "Poll";
      for (const std::string& id : request->running_tasks()) line += " " + id;
      if (const grpc::Status known = check_worker(state, *context, line); !known.ok()) return known;
      const grpc::Status status = heard(state, "Poll", line);
      if (!status.ok()) return status;
      state.polls.push_back(*request);
      if (!state.replies.empty()) {
        *response = state.replies.front();
        state.replies.pop_front();
      }
      response->set_poll_interval_in_seconds(state.interval);
      return status;
    });
  }
  grpc::Status TaskStarted(grpc::ServerContext* context, const pb::TaskIdentification*,
                           Empty*) override {
    return report(*context, "TaskStarted", "");
  }
  grpc::Status TaskFailed(grpc::ServerContext* context, const pb::TaskFailedRequest* request,
                          Empty*) override {
    return report(*context, "TaskFailed", ": " + request->message());
  }
  grpc::Status TaskStopped(grpc::ServerContext* context, const pb::TaskIdentification*,
                           Empty*) override {
    return report(*context, "TaskStopped", "");
  }
  grpc::Status UpdateStatus(grpc::ServerContext* context, const pb::UpdateStatusRequest* request,
                            pb::WorkerStatus* response) override {
    return state_.update([&](State& state) -> grpc::Status {
      // Source: protocol, metadata table: these commands never register.
      if (value_of(*context, "session-token") != "") {
        state.complaints.emplace_back("UpdateStatus has a session token");
      }
      response->set_disabled(request->disabled());
      return heard(state, "UpdateStatus", request->disabled() ? "Pause" : "Resume");
    });
  }
  grpc::Status QueryRunningTasks(grpc::ServerContext*, const pb::QueryRunningTasksRequest*,
                                 pb::QueryRunningTasksResponse*) override {
    return state_.update(
        [&](State& state) { return heard(state, "QueryRunningTasks", "QueryRunningTasks"); });
  }

 private:
  static grpc::Status check_worker(State& state, const grpc::ServerContext& context,
                                   const std::string& line) {
    if (value_of(context, "registration-token") != kPoolToken ||
        value_of(context, "worker-name") != "w") {
      state.complaints.push_back(line + ": who asks?");
    }
    const std::string session = value_of(context, "session-token");
    if (state.stateless ? session.empty() : state.sessions.contains(session)) {
      return grpc::Status::OK;
    }
    state.trace.push_back(line + " ! UNAUTHENTICATED");
    return {grpc::UNAUTHENTICATED, "unknown session"};
  }
  grpc::Status report(const grpc::ServerContext& context, const std::string& method,
                      const std::string& more) {
    return state_.update([&](State& state) -> grpc::Status {
      std::string line = method + " " + value_of(context, "org.cirruslabs.task-id") + more;
      if (const grpc::Status known = check_worker(state, context, line); !known.ok()) return known;
      if (value_of(context, "org.cirruslabs.client-secret") != "client") {
        state.complaints.push_back(line + ": wrong client secret");
      }
      return heard(state, method, line);
    });
  }

  Guarded<State>& state_;
};

class ReferenceServer::Agents final : public pb::CirrusCIService::Service {
 public:
  explicit Agents(Guarded<State>& state) : state_(state) {}

  grpc::Status InitialCommands(grpc::ServerContext* context, const pb::InitialCommandsRequest*,
                               pb::CommandsResponse* response) override {
    return with_task(*context, "InitialCommands", [&](State& state, const std::string& task) {
      *response = state.commands[task];
      return heard(state, "InitialCommands", "InitialCommands " + task);
    });
  }
  grpc::Status ReportCommandUpdates(grpc::ServerContext* context,
                                    const pb::ReportCommandUpdatesRequest* request,
                                    pb::ReportCommandUpdatesResponse*) override {
    return with_task(*context, "Updates", [&](State& state, const std::string& task) {
      grpc::Status status;
      for (const pb::CommandResult& update : request->updates()) {
        status = heard(
            state, "ReportCommandUpdates",
            fmt::format("Updates {} {}={}", task, update.name(), pb::Status_Name(update.status())));
      }
      return status;
    });
  }
  grpc::Status ReportAgentFinished(grpc::ServerContext* context,
                                   const pb::ReportAgentFinishedRequest* request,
                                   pb::ReportAgentFinishedResponse*) override {
    return with_task(*context, "Finished", [&](State& state, const std::string& task) {
      const grpc::Status status = heard(state, "ReportAgentFinished", "Finished " + task);
      if (status.ok()) state.finished[task] = *request;
      return status;
    });
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const pb::HeartbeatRequest*,
                         pb::HeartbeatResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status StreamLogs(grpc::ServerContext* context, grpc::ServerReader<pb::LogEntry>* reader,
                          pb::UploadLogsResponse* response) override {
    return take_log(*context, *reader, *response, "StreamLogs");
  }
  grpc::Status SaveLogs(grpc::ServerContext* context, grpc::ServerReader<pb::LogEntry>* reader,
                        pb::UploadLogsResponse* response) override {
    return take_log(*context, *reader, *response, "SaveLogs");
  }

 private:
  template <typename Do>
  grpc::Status with_task(const grpc::ServerContext& context, const std::string& what,
                         const Do& act) {
    return state_.update([&](State& state) -> grpc::Status {
      const std::string task = value_of(context, "org.cirruslabs.task-id");
      if (value_of(context, "org.cirruslabs.client-secret") != "client") {
        return {grpc::UNAUTHENTICATED, "wrong client secret"};
      }
      if (!value_of(context, "org.cirruslabs.api-endpoint").starts_with("http://127.0.0.1:")) {
        state.complaints.push_back(what + ": no api-endpoint");
      }
      return act(state, task);
    });
  }
  // A stream's bytes append, a whole log replaces. Source: protocol, logs.
  grpc::Status take_log(const grpc::ServerContext& context,
                        grpc::ServerReader<pb::LogEntry>& reader, pb::UploadLogsResponse& response,
                        const std::string& method) {
    pb::LogEntry entry;
    std::string step;
    std::string bytes;
    while (reader.Read(&entry)) {
      if (entry.has_key()) {
        step = entry.key().command_name();
        // What is streamed is there at once; a whole log only when it is complete.
        continue;
      }
      if (step.empty()) {
        state_.update([&](State& state) { state.complaints.push_back(method + ": no key first"); });
      }
      bytes += entry.chunk().data();
      if (method == "StreamLogs") {
        const std::string task = value_of(context, "org.cirruslabs.task-id");
        state_.update(
            [&](State& state) { state.streamed[task + " " + step] += entry.chunk().data(); });
      }
    }
    response.set_bytes_logged(static_cast<std::int64_t>(bytes.size()));
    if (context.IsCancelled()) return {grpc::CANCELLED, "the stream broke"};
    return with_task(context, method, [&](State& state, const std::string& task) {
      const std::string name = task + " " + step;
      const grpc::Status status = heard(state, method, method + " " + name);
      if (status.ok() && method == "SaveLogs") state.saved[name] = bytes;
      return status;
    });
  }

  Guarded<State>& state_;
};

struct ReferenceServer::Running {
  std::unique_ptr<grpc::Server> server;
};

ReferenceServer::ReferenceServer(int port)
    : port_(port),
      workers_(std::make_unique<Workers>(book)),
      agents_(std::make_unique<Agents>(book)),
      running_(std::make_unique<Running>()) {
  listen();
}

ReferenceServer::~ReferenceServer() {
  running_->server->Shutdown(std::chrono::system_clock::time_point());  // in the past: at once
  running_->server->Wait();
}

void ReferenceServer::restart() {
  running_->server->Shutdown(std::chrono::system_clock::time_point());
  running_->server->Wait();
  running_->server.reset();
  listen();
}

void ReferenceServer::listen() {
  grpc::ServerBuilder builder;
  const std::string address = "127.0.0.1:" + std::to_string(port_);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
  // Source: protocol, keepalive: a server must not punish pings.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.RegisterService(workers_.get());
  builder.RegisterService(agents_.get());
  running_->server = builder.BuildAndStart();
  EXPECT_TRUE(running_->server) << "cannot listen on " << address;
}

}  // namespace cirrus::tests
