// SPDX-License-Identifier: MIT
#include "controller/rpc/evaluator_service.h"

#include <atomic>

#include "base/strings.h"
#include "controller/rpc/call_metadata.h"
#include "lang/service.h"

namespace cirrus::controller::rpc {

namespace {

/// One call: admitted, queued, answered exactly once. Whoever lets go of it without an answer (a
/// queue that is dropped) answers that we go down. Deletes nothing: gRPC owns the reactor.
class Call {
 public:
  Call(grpc::CallbackServerContext& context, std::function<grpc::Status()> work)
      : context_(context), reactor_(context.DefaultReactor()), work_(std::move(work)) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() { finish(shutting_down()); }

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }

  void finish(const grpc::Status& status) {
    if (!answered_.exchange(true)) reactor_->Finish(status);
  }
  void run() { finish(context_.IsCancelled() ? grpc::Status::CANCELLED : work_()); }

 private:
  grpc::CallbackServerContext& context_;  // lives until the answer
  grpc::ServerUnaryReactor* const reactor_;
  const std::function<grpc::Status()> work_;
  std::atomic<bool> answered_{false};  // the loop, our thread and the last owner may race to it
};

bool from_this_machine(const std::string& peer) {
  return peer.starts_with("unix:") || peer.starts_with("ipv4:127.") ||
         peer.starts_with("ipv6:[::1]") || peer.starts_with("ipv6:%5B::1%5D");
}

std::string bearer_token(const grpc::CallbackServerContext& context) {
  const std::string value = header(context, "authorization");
  if (to_lower(value.substr(0, 7)) != "bearer ") return {};
  return std::string(trim(std::string_view(value).substr(7)));
}

void enqueue(WorkPool& thread, const std::shared_ptr<Call>& call) {
  const bool queued = thread.run([call](const StopToken& stop) {
    if (!stop.stop_requested()) call->run();
  });
  if (queued) return;
  call->finish({grpc::StatusCode::RESOURCE_EXHAUSTED,
                "too many evaluations wait, or the controller is shutting down: try again"});
}

grpc::ServerUnaryReactor* begin(core::Core& core, WorkPool& thread,
                                grpc::CallbackServerContext& context,
                                std::function<grpc::Status()> work) {
  const auto call = std::make_shared<Call>(context, std::move(work));
  grpc::ServerUnaryReactor* const reactor = call->reactor();
  const std::string token = bearer_token(context);
  if (token.empty()) {
    if (from_this_machine(context.peer())) {
      enqueue(thread, call);
    } else {
      call->finish({grpc::StatusCode::UNAUTHENTICATED,
                    "give an API token as metadata 'authorization: Bearer TOKEN'"});
    }
    return reactor;
  }
  // A post that is refused, or a command that is dropped, lets go of the call.
  static_cast<void>(core.post([call, &thread, token, peer = peer_address(context)](
                                  core::State& state, core::Moment moment) {
    state.authorize(
        token, peer,
        [call, &thread](const Result<core::ApiIdentity>& identity) {
          if (!identity.ok()) return call->finish(to_status(identity));
          enqueue(thread, call);
        },
        moment);
  }));
  return reactor;
}

template <typename Message>
grpc::Status hand_over(Result<Message> result, Message& response) {
  if (result.ok()) response = std::move(result).value();
  return to_status(result);
}

}  // namespace

grpc::ServerUnaryReactor* EvaluatorService::EvaluateConfig(
    grpc::CallbackServerContext* context, const api::EvaluateConfigRequest* request,
    api::EvaluateConfigResponse* response) {
  return begin(core_, thread_, *context, [request, response] {
    return hand_over(lang::evaluate_request(*request), *response);
  });
}

grpc::ServerUnaryReactor* EvaluatorService::JSONSchema(grpc::CallbackServerContext* context,
                                                       const api::JSONSchemaRequest* request,
                                                       api::JSONSchemaResponse* response) {
  return begin(core_, thread_, *context, [request, response] {
    return hand_over(lang::schema_request(*request), *response);
  });
}

grpc::ServerUnaryReactor* EvaluatorService::EvaluateFunction(grpc::CallbackServerContext* context,
                                                             const api::EvaluateFunctionRequest*,
                                                             api::EvaluateFunctionResponse*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish({grpc::StatusCode::UNIMPLEMENTED,
                   "functions of .cirrus.star are not supported yet: nothing was run"});
  return reactor;
}

}  // namespace cirrus::controller::rpc
