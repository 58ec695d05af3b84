// SPDX-License-Identifier: MIT
#pragma once

#include "cirrus_workers.grpc.pb.h"
#include "controller/core/core.h"
#include "controller/rpc/log_syncer.h"

namespace cirrus::controller::rpc {

namespace api = org::cirruslabs::ci::services::cirruscigrpc;

/// Register, Poll and the task reports of workers. Every method decodes, posts, and answers when
/// the core completes. Both must outlive it.
class WorkersService final : public api::CirrusWorkersService::CallbackService {
 public:
  WorkersService(core::Core& core, LogSyncer& syncer) : core_(core), syncer_(syncer) {}

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const api::RegisterRequest* request,
                                     api::RegisterResponse* response) override;
  grpc::ServerUnaryReactor* Poll(grpc::CallbackServerContext* context,
                                 const api::PollRequest* request,
                                 api::PollResponse* response) override;
  grpc::ServerUnaryReactor* TaskStarted(grpc::CallbackServerContext* context,
                                        const api::TaskIdentification* request,
                                        google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* TaskFailed(grpc::CallbackServerContext* context,
                                       const api::TaskFailedRequest* request,
                                       google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* TaskStopped(grpc::CallbackServerContext* context,
                                        const api::TaskIdentification* request,
                                        google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* UpdateStatus(grpc::CallbackServerContext* context,
                                         const api::UpdateStatusRequest* request,
                                         api::WorkerStatus* response) override;
  grpc::ServerUnaryReactor* QueryRunningTasks(grpc::CallbackServerContext* context,
                                              const api::QueryRunningTasksRequest* request,
                                              api::QueryRunningTasksResponse* response) override;

 private:
  core::Core& core_;   // constant after construction
  LogSyncer& syncer_;  // constant after construction
};

}  // namespace cirrus::controller::rpc
