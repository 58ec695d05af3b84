// SPDX-License-Identifier: MIT
#pragma once

#include "cirrus_agent.grpc.pb.h"
#include "controller/core/core.h"
#include "controller/rpc/blob_streams.h"
#include "controller/rpc/log_syncer.h"
#include "rpc/terminal_hosts.h"

namespace cirrus::controller::rpc {

namespace api = org::cirruslabs::ci::services::cirruscigrpc;

/// What agents (or workers on their behalf) report and keep. What is not overridden is
/// UNIMPLEMENTED, which every peer tolerates (protocol §13): artifacts then come over this port,
/// and caches by `grpc://` addresses on it. All arguments must outlive it.
class AgentService final : public api::CirrusCIService::CallbackService {
 public:
  AgentService(BlobParts parts, LogSyncer& syncer, cirrus::rpc::TerminalHosts& terminals)
      : core_(parts.core),
        logs_(parts.stores.logs),
        pool_(parts.pool),
        syncer_(syncer),
        parts_(parts),
        terminals_(terminals) {}

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
  grpc::ServerReadReactor<api::ArtifactEntry>* UploadArtifacts(
      grpc::CallbackServerContext* context, api::UploadArtifactsResponse* response) override;
  grpc::ServerUnaryReactor* CacheInfo(grpc::CallbackServerContext* context,
                                      const api::CacheInfoRequest* request,
                                      api::CacheInfoResponse* response) override;
  grpc::ServerUnaryReactor* DeleteCache(grpc::CallbackServerContext* context,
                                        const api::DeleteCacheRequest* request,
                                        api::DeleteCacheResponse* response) override;
  grpc::ServerUnaryReactor* GenerateCacheUploadURL(grpc::CallbackServerContext* context,
                                                   const api::CacheKey* request,
                                                   api::GenerateURLResponse* response) override;
  grpc::ServerUnaryReactor* GenerateCacheDownloadURLs(grpc::CallbackServerContext* context,
                                                      const api::CacheKey* request,
                                                      api::GenerateURLsResponse* response) override;
  grpc::ServerUnaryReactor* ReportTerminalAttached(
      grpc::CallbackServerContext* context, const api::ReportTerminalAttachedRequest* request,
      api::ReportTerminalAttachedResponse* response) override;
  grpc::ServerUnaryReactor* ReportTerminalLifecycle(
      grpc::CallbackServerContext* context, const api::ReportTerminalLifecycleRequest* request,
      api::ReportTerminalLifecycleResponse* response) override;

 private:
  using Keep = std::function<Status(blobs::ReportStore& reports, model::TaskId task)>;

  grpc::ServerUnaryReactor* beat(grpc::CallbackServerContext* context);
  /// Once the core knows the caller: keeps something of its report and answers.
  grpc::ServerUnaryReactor* keep(grpc::CallbackServerContext* context, Keep keep);
  core::Reply<void> then_keep(grpc::ServerUnaryReactor* reactor, const std::string& id, Keep keep);

  core::Core& core_;       // constant after construction
  blobs::LogStore& logs_;  // constant after construction
  WorkPool& pool_;         // constant after construction
  LogSyncer& syncer_;      // constant after construction
  const BlobParts parts_;
  cirrus::rpc::TerminalHosts& terminals_;  // constant after construction
};

}  // namespace cirrus::controller::rpc
