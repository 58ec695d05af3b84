// SPDX-License-Identifier: MIT
#pragma once

#include "cirrus_agent.grpc.pb.h"
#include "controller/blobs/log_store.h"
#include "controller/blobs/work_pool.h"
#include "controller/core/core.h"

namespace cirrus::controller::rpc {

namespace api = org::cirruslabs::ci::services::cirruscigrpc;

/// What agents (or workers on their behalf) report. What is not overridden is UNIMPLEMENTED, which
/// every peer tolerates for caches and artifacts (protocol §13). All arguments must outlive it.
class AgentService final : public api::CirrusCIService::CallbackService {
 public:
  AgentService(core::Core& core, blobs::LogStore& logs, blobs::WorkPool& pool)
      : core_(core), logs_(logs), pool_(pool) {}

  grpc::ServerUnaryReactor* InitialCommands(grpc::CallbackServerContext* context,
                                            const api::InitialCommandsRequest* request,
                                            api::CommandsResponse* response) override;
  grpc::ServerUnaryReactor* ReportCommandUpdates(
      grpc::CallbackServerContext* context, const api::ReportCommandUpdatesRequest* request,
      api::ReportCommandUpdatesResponse* response) override;
  grpc::ServerReadReactor<api::LogEntry>* StreamLogs(grpc::CallbackServerContext* context,
                                                     api::UploadLogsResponse* response) override;
  grpc::ServerReadReactor<api::LogEntry>* SaveLogs(grpc::CallbackServerContext* context,
                                                   api::UploadLogsResponse* response) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context,
                                      const api::HeartbeatRequest* request,
                                      api::HeartbeatResponse* response) override;
  grpc::ServerUnaryReactor* ReportAnnotations(grpc::CallbackServerContext* context,
                                              const api::ReportAnnotationsCommandRequest* request,
                                              google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ReportStopHook(grpc::CallbackServerContext* context,
                                           const api::ReportStopHookRequest* request,
                                           google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ReportAgentError(grpc::CallbackServerContext* context,
                                             const api::ReportAgentProblemRequest* request,
                                             google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ReportAgentWarning(grpc::CallbackServerContext* context,
                                               const api::ReportAgentProblemRequest* request,
                                               google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ReportAgentSignal(grpc::CallbackServerContext* context,
                                              const api::ReportAgentSignalRequest* request,
                                              google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ReportAgentLogs(grpc::CallbackServerContext* context,
                                            const api::ReportAgentLogsRequest* request,
                                            google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ReportAgentFinished(
      grpc::CallbackServerContext* context, const api::ReportAgentFinishedRequest* request,
      api::ReportAgentFinishedResponse* response) override;

 private:
  grpc::ServerUnaryReactor* beat(grpc::CallbackServerContext* context);

  core::Core& core_;       // constant after construction
  blobs::LogStore& logs_;  // constant after construction
  blobs::WorkPool& pool_;  // constant after construction
};

}  // namespace cirrus::controller::rpc
