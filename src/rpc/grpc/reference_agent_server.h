// SPDX-License-Identifier: MIT
// The gateway's side of the reference's own agent service: for guests whose agent is a reference
// CLI binary.
#pragma once

#include "cirrus_agent.grpc.pb.h"
#include "google/bytestream/bytestream.grpc.pb.h"
#include "rpc/gateway_service.h"
#include "rpc/task_service.h"
#include "rpc/terminal_hosts.h"

namespace cirrus::rpc {

/// Who calls says the metadata, as at a server; the secret is the task's local one. What is not
/// overridden is UNIMPLEMENTED, which such agents take: artifacts then come as UploadArtifacts.
/// The library gives every call a thread. Source: protocol §7 to §10, §13.
class ReferenceAgentServer final
    : public org::cirruslabs::ci::services::cirruscigrpc::CirrusCIService::Service {
 public:
  /// Both must outlive the server.
  ReferenceAgentServer(GatewayService& service, TerminalHosts& terminals)
      : service_(service), terminals_(terminals) {}

  using Context = grpc::ServerContext;
  using None = google::protobuf::Empty;
  template <typename Message>
  using Reader = grpc::ServerReader<Message>;

  grpc::Status InitialCommands(Context* context, const pb::InitialCommandsRequest* request,
                               pb::CommandsResponse* reply) override;
  grpc::Status ReportCommandUpdates(Context* context,
                                    const pb::ReportCommandUpdatesRequest* request,
                                    pb::ReportCommandUpdatesResponse* reply) override;
  grpc::Status ReportAnnotations(Context* context,
                                 const pb::ReportAnnotationsCommandRequest* request,
                                 None* reply) override;
  grpc::Status StreamLogs(Context* context, Reader<pb::LogEntry>* reader,
                          pb::UploadLogsResponse* reply) override;
  grpc::Status SaveLogs(Context* context, Reader<pb::LogEntry>* reader,
                        pb::UploadLogsResponse* reply) override;
  grpc::Status UploadArtifacts(Context* context, Reader<pb::ArtifactEntry>* reader,
                               pb::UploadArtifactsResponse* reply) override;
  grpc::Status CacheInfo(Context* context, const pb::CacheInfoRequest* request,
                         pb::CacheInfoResponse* reply) override;
  grpc::Status DeleteCache(Context* context, const pb::DeleteCacheRequest* request,
                           pb::DeleteCacheResponse* reply) override;
  grpc::Status GenerateCacheUploadURL(Context* context, const pb::CacheKey* request,
                                      pb::GenerateURLResponse* reply) override;
  grpc::Status GenerateCacheDownloadURLs(Context* context, const pb::CacheKey* request,
                                         pb::GenerateURLsResponse* reply) override;
  grpc::Status Heartbeat(Context* context, const pb::HeartbeatRequest* request,
                         pb::HeartbeatResponse* reply) override;
  grpc::Status ReportStopHook(Context* context, const pb::ReportStopHookRequest* request,
                              None* reply) override;
  grpc::Status ReportAgentError(Context* context, const pb::ReportAgentProblemRequest* request,
                                None* reply) override;
  grpc::Status ReportAgentWarning(Context* context, const pb::ReportAgentProblemRequest* request,
                                  None* reply) override;
  grpc::Status ReportAgentSignal(Context* context, const pb::ReportAgentSignalRequest* request,
                                 None* reply) override;
  grpc::Status ReportAgentLogs(Context* context, const pb::ReportAgentLogsRequest* request,
                               None* reply) override;
  grpc::Status ReportAgentFinished(Context* context, const pb::ReportAgentFinishedRequest* request,
                                   pb::ReportAgentFinishedResponse* reply) override;
  grpc::Status ReportTerminalAttached(Context* context,
                                      const pb::ReportTerminalAttachedRequest* request,
                                      pb::ReportTerminalAttachedResponse* reply) override;
  grpc::Status ReportTerminalLifecycle(Context* context,
                                       const pb::ReportTerminalLifecycleRequest* request,
                                       pb::ReportTerminalLifecycleResponse* reply) override;

 private:
  GatewayService& service_;
  TerminalHosts& terminals_;
};

/// The bytes of caches, at the addresses that ReferenceAgentServer names.
class ReferenceByteStream final : public google::bytestream::ByteStream::Service {
 public:
  explicit ReferenceByteStream(GatewayService& service) : service_(service) {}
  grpc::Status Read(grpc::ServerContext* context, const google::bytestream::ReadRequest* request,
                    grpc::ServerWriter<google::bytestream::ReadResponse>* writer) override;
  grpc::Status Write(grpc::ServerContext* context,
                     grpc::ServerReader<google::bytestream::WriteRequest>* reader,
                     google::bytestream::WriteResponse* reply) override;

 private:
  GatewayService& service_;
};

}  // namespace cirrus::rpc
