// SPDX-License-Identifier: MIT
// FakeUpstream: a controller in memory, scripted by data.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "rpc/testing/fake_task_service.h"
#include "rpc/upstream.h"

namespace cirrus::rpc::testing {

/// `trace` has one line per call that was answered with success, such as `register`, `poll 42`
/// (the running tasks), `started 42`, `failed 42: reason`, `stopped 42`.
class FakeUpstream final : public Upstream {
 public:
  struct State {
    std::vector<std::string> trace;
    /// Answers of the next calls by name (`register`, `poll`, `started`, `failed`, `stopped`,
    /// `running`);
    /// an error fails that call, an empty queue succeeds.
    std::map<std::string, std::deque<Error>> failures;
    /// Poll replies to give; an empty queue holds the poll until a stop or a change.
    std::deque<pb::PollResponse> replies;
    Features features = Features::ours();
    std::string session = "session";
    bool disabled = false;
    std::vector<PollContext> polls;
    std::vector<std::uint64_t> register_numbers;
    std::vector<pb::PollRequest> requests;
  };
  /// Owned by the test, so that it outlives the worker that owns the upstream.
  struct Shared {
    Guarded<State> state;
    FakeTaskService service;
  };

  explicit FakeUpstream(Shared& shared, std::string endpoint = "http://fake:1")
      : shared_(shared), endpoint_(std::move(endpoint)) {}

  const std::string& endpoint() const override { return endpoint_; }
  Result<RegisterReply> register_worker(const pb::WorkerInfo&, std::uint64_t number,
                                        const StopToken&, Monotonic) override {
    shared_.state.with([&](State& state) { state.register_numbers.push_back(number); });
    CIRRUS_TRY(answer("register", "register"));
    return shared_.state.with([](State& state) {
      return RegisterReply{Secret(state.session), state.features};
    });
  }
  Result<PollReply> poll(const pb::PollRequest& request, const PollContext& context,
                         const StopToken& stop, Monotonic deadline) override {
    std::string line = "poll";
    for (const std::string& id : request.running_tasks()) line += " " + id;
    shared_.state.update([&](State& state) {
      state.polls.push_back(context);
      state.requests.push_back(request);
    });
    CIRRUS_TRY(answer("poll", line));
    if (context.leaving)
      return PollReply{{}, shared_.state.with([](State& s) { return s.features; })};
    return shared_.state.wait_until(
        stop, deadline,
        [](State& state) { return !state.replies.empty() || !state.features.hold(); },
        [&](State& state, bool) -> Result<PollReply> {
          if (stop.stop_requested()) return cirrus::error(Code::Cancelled, "cancelled");
          PollReply reply;
          reply.server = state.features;
          if (!state.replies.empty()) {
            reply.response = state.replies.front();
            state.replies.pop_front();
          }
          return reply;
        });
  }
  Status task_started(const Secret&, const TaskCredential& task, const StopToken&,
                      Monotonic) override {
    return answer("started", "started " + task.task_id);
  }
  Status task_failed(const Secret&, const TaskCredential& task, const std::string& message,
                     const StopToken&, Monotonic) override {
    return answer("failed", "failed " + task.task_id + ": " + message);
  }
  Status task_stopped(const Secret&, const TaskCredential& task, const StopToken&,
                      Monotonic) override {
    return answer("stopped", "stopped " + task.task_id);
  }
  Result<bool> set_disabled(bool disabled, const StopToken&, Monotonic) override {
    shared_.state.with([&](State& state) { state.disabled = disabled; });
    return disabled;
  }
  Result<RunningTasks> running_tasks(const StopToken&, Monotonic) override {
    CIRRUS_TRY(answer("running", "running"));
    return RunningTasks{{}, shared_.state.with([](State& state) { return state.disabled; })};
  }
  std::unique_ptr<ShellLink> shells(std::function<Secret()>) override { return nullptr; }
  std::unique_ptr<TaskService> task_service(TaskCredential) override {
    return std::make_unique<Forward>(shared_.service);
  }

 private:
  // Hands every call on to the one service the test looks at.
  class Forward final : public TaskService {
   public:
    explicit Forward(FakeTaskService& service) : service_(service) {}
    Result<pb::CommandsResponse> initial_commands(const pb::InitialCommandsRequest& request,
                                                  const StopToken& stop,
                                                  Monotonic deadline) override {
      return service_.initial_commands(request, stop, deadline);
    }
    Status report_updates(const pb::ReportCommandUpdatesRequest& request, const LogPositions& after,
                          const StopToken& stop, Monotonic deadline) override {
      return service_.report_updates(request, after, stop, deadline);
    }
    Status report_finished(const pb::ReportAgentFinishedRequest& request, const LogPositions& after,
                           const StopToken& stop, Monotonic deadline) override {
      return service_.report_finished(request, after, stop, deadline);
    }
    Status report_warning(const pb::ReportAgentProblemRequest& request, const StopToken& stop,
                          Monotonic deadline) override {
      return service_.report_warning(request, stop, deadline);
    }
    Status report_error(const pb::ReportAgentProblemRequest& request, const StopToken& stop,
                        Monotonic deadline) override {
      return service_.report_error(request, stop, deadline);
    }
    Status report_signal(const pb::ReportAgentSignalRequest& request, const StopToken& stop,
                         Monotonic deadline) override {
      return service_.report_signal(request, stop, deadline);
    }
    Status report_annotations(const pb::ReportAnnotationsCommandRequest& request,
                              const StopToken& stop, Monotonic deadline) override {
      return service_.report_annotations(request, stop, deadline);
    }
    Status heartbeat(const StopToken& stop, Monotonic deadline) override {
      return service_.heartbeat(stop, deadline);
    }
    std::unique_ptr<LogStream> open_log(const std::string& step, std::uint64_t offset,
                                        const StopToken& stop) override {
      return service_.open_log(step, offset, stop);
    }
    Status save_log(const std::string& step, const std::function<Result<std::string>()>& read,
                    const StopToken& stop, Monotonic deadline) override {
      return service_.save_log(step, read, stop, deadline);
    }

   private:
    FakeTaskService& service_;
  };

  Status answer(const std::string& call, std::string line) {
    return shared_.state.update([&](State& state) -> Status {
      std::deque<Error>& failures = state.failures[call];
      if (!failures.empty()) {
        Error failure = std::move(failures.front());
        failures.pop_front();
        return failure;
      }
      state.trace.push_back(std::move(line));
      return {};
    });
  }

  Shared& shared_;
  const std::string endpoint_;
};

}  // namespace cirrus::rpc::testing
