// SPDX-License-Identifier: MIT
#include "controller/rpc/agent_service.h"

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "controller/rpc/call_metadata.h"
#include "controller/rpc/log_streams.h"
#include "rpc/peer.h"

namespace cirrus::controller::rpc {

namespace {
core::Reply<void> finish_with_status(grpc::ServerUnaryReactor* reactor) {
  return [reactor](const Result<void>& result) { reactor->Finish(to_status(result)); };
}

void post_or_refuse(core::Core& core, grpc::ServerUnaryReactor* reactor,
                    core::Core::Command command) {
  if (!core.post(std::move(command))) reactor->Finish(shutting_down());
}

model::StepStatus step_status(const api::CommandResult& result) {
  switch (result.status()) {
    case api::EXECUTING: return model::StepStatus::Executing;
    case api::COMPLETED: return model::StepStatus::Completed;
    case api::FAILED: return model::StepStatus::Failed;
    case api::SKIPPED: return model::StepStatus::Skipped;
    case api::ABORTED: return model::StepStatus::Aborted;
    default: return model::StepStatus::Created;
  }
}

template <typename Results>
std::vector<core::StepUpdate> updates_of(const Results& results) {
  std::vector<core::StepUpdate> updates;
  for (const api::CommandResult& result : results) {
    updates.push_back({result.name(), step_status(result),
                       std::max<std::int64_t>(0, result.duration_in_nanos())});
  }
  return updates;
}
}  // namespace

grpc::ServerUnaryReactor* AgentService::InitialCommands(grpc::CallbackServerContext* context,
                                                        const api::InitialCommandsRequest*,
                                                        api::CommandsResponse* response) {
  announce_features(*context);
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  post_or_refuse(core_, reactor,
                 [reactor, response, task = task_credential(*context),
                  endpoint = header(*context, cirrus::rpc::kApiEndpoint)](core::State& state,
                                                                          core::Moment moment) {
                   state.initial_commands(
                       task,
                       [reactor, response, endpoint](Result<api::CommandsResponse> commands) {
                         if (commands.ok()) *response = std::move(commands).value();
                         cirrus::rpc::name_terminal_server(*response, endpoint);
                         reactor->Finish(to_status(commands));
                       },
                       moment);
                 });
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::ReportCommandUpdates(
    grpc::CallbackServerContext* context, const api::ReportCommandUpdatesRequest* request,
    api::ReportCommandUpdatesResponse*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  ReportedLogs logs = ReportedLogs::of(*context);
  std::vector<core::StepUpdate> updates = updates_of(request->updates());
  for (const core::StepUpdate& update : updates) {
    if (!model::is_final(update.status)) continue;
    logs.steps.emplace(update.name, 0);
    logs.wait = ReportedLogs::Wait::ForSteps;
  }
  syncer_.after_sync(logs, reactor, [this, reactor, task = logs.task, updates] {
    post_or_refuse(core_, reactor,
                   [reactor, task, updates](core::State& state, core::Moment moment) {
                     state.step_updates(task, updates, finish_with_status(reactor), moment);
                   });
  });
  return reactor;
}

grpc::ServerReadReactor<api::LogEntry>* AgentService::StreamLogs(
    grpc::CallbackServerContext* context, api::UploadLogsResponse* response) {
  // deletes itself
  return new StreamLogsReactor(core_, logs_, pool_, syncer_, *context, *response);
}

grpc::ServerReadReactor<api::LogEntry>* AgentService::SaveLogs(grpc::CallbackServerContext* context,
                                                               api::UploadLogsResponse* response) {
  // deletes itself
  return new SaveLogsReactor(core_, logs_, pool_, syncer_, *context, *response);
}

grpc::ServerUnaryReactor* AgentService::beat(grpc::CallbackServerContext* context) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  post_or_refuse(
      core_, reactor,
      [reactor, task = task_credential(*context)](core::State& state, core::Moment moment) {
        state.heartbeat(task, finish_with_status(reactor), moment);
      });
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::Heartbeat(grpc::CallbackServerContext* context,
                                                  const api::HeartbeatRequest*,
                                                  api::HeartbeatResponse*) {
  return beat(context);
}

core::Reply<void> AgentService::then_keep(grpc::ServerUnaryReactor* reactor, const std::string& id,
                                          Keep keep) {
  return [this, reactor, id, keep = std::move(keep)](const Result<void>& known) {
    const Result<model::TaskId> task = model::TaskId::parse(id);
    if (!known.ok() || !task.ok()) return reactor->Finish(to_status(known));
    const bool queued = pool_.run([this, reactor, task = task.value(), keep](const StopToken&) {
      const Status kept = keep(parts_.stores.reports, task);
      // A task does not fail for what it says on the side.
      if (!kept.ok()) {
        log_warning("a report is not kept", {{"task", task}, {"error", kept.error()}});
      }
      reactor->Finish(grpc::Status::OK);
    });
    if (!queued) {
      reactor->Finish(to_status(error(Code::Unavailable, "too many reports at once: try again")));
    }
  };
}

grpc::ServerUnaryReactor* AgentService::keep(grpc::CallbackServerContext* context, Keep keep) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  post_or_refuse(core_, reactor,
                 [this, reactor, task = task_credential(*context), keep = std::move(keep)](
                     core::State& state, core::Moment moment) {
                   state.heartbeat(task, then_keep(reactor, task.id, keep), moment);
                 });
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::ReportAnnotations(
    grpc::CallbackServerContext* context, const api::ReportAnnotationsCommandRequest* request,
    google::protobuf::Empty*) {
  return keep(context, [report = *request](blobs::ReportStore& reports, model::TaskId task) {
    return reports.add_annotations(task, report);
  });
}

grpc::ServerUnaryReactor* AgentService::ReportStopHook(grpc::CallbackServerContext* context,
                                                       const api::ReportStopHookRequest*,
                                                       google::protobuf::Empty*) {
  return beat(context);
}

grpc::ServerUnaryReactor* AgentService::ReportAgentError(
    grpc::CallbackServerContext* context, const api::ReportAgentProblemRequest* request,
    google::protobuf::Empty*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  post_or_refuse(
      core_, reactor,
      [reactor, task = task_credential(*context), message = shorten(request->message(), 1000)](
          core::State& state, core::Moment moment) {
        state.agent_problem(task, message, finish_with_status(reactor), moment);
      });
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::ReportAgentWarning(
    grpc::CallbackServerContext* context, const api::ReportAgentProblemRequest* request,
    google::protobuf::Empty*) {
  log_debug("agent warning", {{"task", header(*context, "org.cirruslabs.task-id")},
                              {"message", shorten(request->message(), 200)}});
  return keep(context,
              [message = request->message()](blobs::ReportStore& reports, model::TaskId task) {
                return reports.add_warning(task, message);
              });
}

grpc::ServerUnaryReactor* AgentService::ReportAgentSignal(grpc::CallbackServerContext* context,
                                                          const api::ReportAgentSignalRequest*,
                                                          google::protobuf::Empty*) {
  return beat(context);
}

grpc::ServerUnaryReactor* AgentService::ReportAgentLogs(grpc::CallbackServerContext* context,
                                                        const api::ReportAgentLogsRequest* request,
                                                        google::protobuf::Empty*) {
  return keep(context, [log = request->logs()](blobs::ReportStore& reports, model::TaskId task) {
    return reports.put_agent_log(task, log);
  });
}

grpc::ServerUnaryReactor* AgentService::ReportAgentFinished(
    grpc::CallbackServerContext* context, const api::ReportAgentFinishedRequest* request,
    api::ReportAgentFinishedResponse*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  ReportedLogs logs = ReportedLogs::of(*context);
  logs.wait = ReportedLogs::Wait::ForAll;
  syncer_.after_sync(logs, reactor, [this, reactor, task = logs.task, report = *request] {
    post_or_refuse(core_, reactor,
                   [this, reactor, task, results = updates_of(report.command_results()), report](
                       core::State& state, core::Moment moment) {
                     const Keep figures = [report](blobs::ReportStore& reports, model::TaskId id) {
                       return reports.put_figures(id, report);
                     };
                     state.agent_finished(task, results, then_keep(reactor, task.id, figures),
                                          moment);
                   });
  });
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::ReportTerminalAttached(
    grpc::CallbackServerContext* context, const api::ReportTerminalAttachedRequest* request,
    api::ReportTerminalAttachedResponse*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  post_or_refuse(
      core_, reactor,
      [this, reactor, task = task_credential(*context), locator = request->locator(),
       secret = Secret(request->trusted_secret())](core::State& state, core::Moment moment) {
        // As for blobs: only as long as the task runs.
        state.blob_permit(
            task,
            [this, reactor, locator, secret](const Result<core::BlobPermit>& permit) {
              if (!permit.ok()) return reactor->Finish(to_status(permit));
              reactor->Finish(to_status(
                  terminals_.claim(locator, secret.reveal(), permit.value().task.to_string(),
                                   [gate = permit.value().gate] { return gate->open.load(); })));
            },
            moment);
      });
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::ReportTerminalLifecycle(
    grpc::CallbackServerContext* context, const api::ReportTerminalLifecycleRequest*,
    api::ReportTerminalLifecycleResponse*) {
  return beat(context);
}

}  // namespace cirrus::controller::rpc
