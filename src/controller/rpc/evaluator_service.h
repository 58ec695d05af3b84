// SPDX-License-Identifier: MIT
#pragma once

#include "base/work_pool.h"
#include "cirrus_evaluator.grpc.pb.h"
#include "controller/core/core.h"

namespace cirrus::controller::rpc {

namespace api = org::cirruslabs::ci::services::cirruscigrpc;

/// What configurations mean, for whoever evaluates them elsewhere. Callers on this machine need no
/// credential, others send an API token as `authorization: Bearer TOKEN`. Evaluations run one after
/// the other on a thread of this object; over a few that wait, RESOURCE_EXHAUSTED.
/// Source: reference CLI, evaluator service; credentials and bounds are ours.
class EvaluatorService final : public api::CirrusConfigurationEvaluatorService::CallbackService {
 public:
  /// `core` must outlive it.
  explicit EvaluatorService(core::Core& core) : core_(core), thread_(1, kLongestQueue) {}

  grpc::ServerUnaryReactor* EvaluateConfig(grpc::CallbackServerContext* context,
                                           const api::EvaluateConfigRequest* request,
                                           api::EvaluateConfigResponse* response) override;
  grpc::ServerUnaryReactor* JSONSchema(grpc::CallbackServerContext* context,
                                       const api::JSONSchemaRequest* request,
                                       api::JSONSchemaResponse* response) override;
  /// UNIMPLEMENTED with a sentence: scripts are not run.
  grpc::ServerUnaryReactor* EvaluateFunction(grpc::CallbackServerContext* context,
                                             const api::EvaluateFunctionRequest* request,
                                             api::EvaluateFunctionResponse* response) override;

  /// Answers what waits with UNAVAILABLE and finishes what runs. Safe to call twice.
  void stop() { thread_.stop(); }

 private:
  static constexpr std::size_t kLongestQueue = 16;  ///< Ours.

  core::Core& core_;  // constant after construction
  WorkPool thread_;
};

}  // namespace cirrus::controller::rpc
