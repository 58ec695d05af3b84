// SPDX-License-Identifier: MIT
#include "controller/rpc/workers_service.h"

#include "controller/core/task_spec.h"
#include "controller/rpc/call_metadata.h"

namespace cirrus::controller::rpc {

namespace {
/// The usual answer of a call without a body.
core::Reply<void> finish_with_status(grpc::ServerUnaryReactor* reactor) {
  return [reactor](const Result<void>& result) { reactor->Finish(to_status(result)); };
}

/// Posts, or answers that we go down.
void post_or_refuse(core::Core& core, grpc::ServerUnaryReactor* reactor,
                    core::Core::Command command) {
  if (!core.post(std::move(command))) reactor->Finish(shutting_down());
}

/// For a call whose metadata makes no sense.
grpc::ServerUnaryReactor* refuse(grpc::CallbackServerContext& context, const Error& why) {
  grpc::ServerUnaryReactor* const reactor = context.DefaultReactor();
  reactor->Finish(to_status(why));
  return reactor;
}

/// A poll that may stay parked for long; tells the core when its client goes away.
class PollReactor final : public grpc::ServerUnaryReactor {
 public:
  PollReactor(core::Core& core, core::WorkerCredential worker)
      : core_(core), worker_(std::move(worker)) {}

  void begin(core::PollCall call, api::PollResponse* response) {
    const bool posted = core_.post([this, ticket = ticket_, call = std::move(call), response](
                                       core::State& state, core::Moment moment) {
      state.poll(
          call,
          [this, response](Result<api::PollResponse> result) {
            if (result.ok()) *response = std::move(result).value();
            Finish(to_status(result));
          },
          moment);
      *ticket = state.last_ticket();
    });
    if (!posted) Finish(shutting_down());
  }

  void OnCancel() override {
    const bool posted =
        core_.post([worker = worker_, ticket = ticket_](core::State& state, core::Moment) {
          state.poll_cancelled(worker, *ticket);
        });
    static_cast<void>(posted);  // else the poll was answered when the core stopped
  }
  void OnDone() override { delete this; }

 private:
  core::Core& core_;
  const core::WorkerCredential worker_;
  // State loop only; shared because the reactor may be gone when the loop looks at it.
  const std::shared_ptr<std::uint64_t> ticket_ = std::make_shared<std::uint64_t>(0);
};
}  // namespace

grpc::ServerUnaryReactor* WorkersService::Register(grpc::CallbackServerContext* context,
                                                   const api::RegisterRequest* request,
                                                   api::RegisterResponse* response) {
  announce_features(*context);
  core::RegisterCall call;
  call.registration_token = request->registration_token();
  call.instance = header(*context, "cirrus-instance");
  call.peer = peer_address(*context);
  const Result<std::optional<std::uint64_t>> number = number_header(*context, "cirrus-poll-number");
  if (!number.ok()) return refuse(*context, number.error());
  call.number = number.value().value_or(0);
  const auto& info = request->worker_info();
  call.labels = model::Labels(info.labels().begin(), info.labels().end());
  call.resources = model::Resources(info.resources_total().begin(), info.resources_total().end());
  // The reference sends its name only as a label here.
  call.name = header(*context, "worker-name");
  if (call.name.empty()) {
    const auto label = call.labels.find("name");
    if (label != call.labels.end()) call.name = label->second;
  }
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  post_or_refuse(
      core_, reactor,
      [call = std::move(call), reactor, response](core::State& state, core::Moment moment) {
        state.register_worker(
            call,
            [reactor, response](Result<std::string> token) {
              if (token.ok()) response->set_session_token(token.value());
              reactor->Finish(to_status(token));
            },
            moment);
      });
  return reactor;
}

grpc::ServerUnaryReactor* WorkersService::Poll(grpc::CallbackServerContext* context,
                                               const api::PollRequest* request,
                                               api::PollResponse* response) {
  announce_features(*context);
  core::PollCall call;
  call.worker = worker_credential(*context);
  call.features = worker_features(*context);
  const Result<std::optional<std::uint64_t>> number = number_header(*context, "cirrus-poll-number");
  if (!number.ok()) return refuse(*context, number.error());
  call.number = number.value().value_or(0);
  call.draining = header(*context, "cirrus-draining") == "1";
  call.leaving = header(*context, "cirrus-leaving") == "1";
  const auto& info = request->worker_info();
  call.labels = model::Labels(info.labels().begin(), info.labels().end());
  call.resources = model::Resources(info.resources_total().begin(), info.resources_total().end());
  call.running_tasks.assign(request->running_tasks().begin(), request->running_tasks().end());
  if (call.running_tasks.empty()) {
    for (const std::int64_t id : request->old_running_tasks()) {
      call.running_tasks.push_back(std::to_string(id));
    }
  }
  // There is at most one. Source: protocol §5.1.
  if (request->available_standby_instances_information_size() > 0) {
    const auto& standby = request->available_standby_instances_information(0);
    call.standby = {core::isolation_key(standby.parameters().isolation()), standby.age_seconds()};
  }
  auto* const reactor = new PollReactor(core_, call.worker);  // deletes itself when done
  reactor->begin(std::move(call), response);
  return reactor;
}

grpc::ServerUnaryReactor* WorkersService::TaskStarted(grpc::CallbackServerContext* context,
                                                      const api::TaskIdentification*,
                                                      google::protobuf::Empty*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  post_or_refuse(core_, reactor,
                 [reactor, worker = worker_credential(*context), task = task_credential(*context)](
                     core::State& state, core::Moment moment) {
                   state.task_started(worker, task, finish_with_status(reactor), moment);
                 });
  return reactor;
}

grpc::ServerUnaryReactor* WorkersService::TaskFailed(grpc::CallbackServerContext* context,
                                                     const api::TaskFailedRequest* request,
                                                     google::protobuf::Empty*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  ReportedLogs logs = ReportedLogs::of(*context);
  logs.wait = ReportedLogs::Wait::ForAll;
  syncer_.after_sync(logs, reactor,
                     [this, reactor, task = logs.task, worker = worker_credential(*context),
                      message = request->message()] {
                       post_or_refuse(core_, reactor, [=](core::State& state, core::Moment moment) {
                         state.task_failed(worker, task, message, finish_with_status(reactor),
                                           moment);
                       });
                     });
  return reactor;
}

grpc::ServerUnaryReactor* WorkersService::TaskStopped(grpc::CallbackServerContext* context,
                                                      const api::TaskIdentification*,
                                                      google::protobuf::Empty*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  post_or_refuse(core_, reactor,
                 [reactor, worker = worker_credential(*context), task = task_credential(*context)](
                     core::State& state, core::Moment moment) {
                   state.task_stopped(worker, task, finish_with_status(reactor), moment);
                 });
  return reactor;
}

grpc::ServerUnaryReactor* WorkersService::UpdateStatus(grpc::CallbackServerContext* context,
                                                       const api::UpdateStatusRequest* request,
                                                       api::WorkerStatus* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  post_or_refuse(core_, reactor,
                 [reactor, response, worker = worker_credential(*context),
                  disabled = request->disabled()](core::State& state, core::Moment moment) {
                   state.update_status(
                       worker, disabled,
                       [reactor, response](const Result<bool>& now_disabled) {
                         if (now_disabled.ok()) response->set_disabled(now_disabled.value());
                         reactor->Finish(to_status(now_disabled));
                       },
                       moment);
                 });
  return reactor;
}

grpc::ServerUnaryReactor* WorkersService::QueryRunningTasks(
    grpc::CallbackServerContext* context, const api::QueryRunningTasksRequest*,
    api::QueryRunningTasksResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  post_or_refuse(core_, reactor,
                 [reactor, response, worker = worker_credential(*context)](core::State& state,
                                                                           core::Moment moment) {
                   state.query_running(
                       worker,
                       [reactor, response](const Result<core::State::RunningTasks>& running) {
                         if (running.ok()) {
                           response->mutable_status()->set_disabled(running.value().disabled);
                           for (const model::TaskId id : running.value().tasks) {
                             response->add_running_tasks(id.to_string());
                             response->add_old_running_tasks(id.value);
                           }
                         }
                         reactor->Finish(to_status(running));
                       },
                       moment);
                 });
  return reactor;
}

}  // namespace cirrus::controller::rpc
