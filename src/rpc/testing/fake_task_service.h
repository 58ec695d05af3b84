// SPDX-License-Identifier: MIT
// FakeTaskService: a server in memory, scripted by data.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "rpc/task_service.h"

namespace cirrus::rpc::testing {

/// Keeps what it is sent, in order. `trace` has one line per effect: `log main 0-5`,
/// `update main EXECUTING`, `finished`, `save main`.
class FakeTaskService final : public TaskService {
 public:
  struct State {
    std::map<std::string, std::string> logs;      ///< stored bytes by step
    std::map<std::string, std::uint64_t> synced;  ///< what its disk has of them
    std::map<std::string, std::string> saved;     ///< by SaveLogs
    std::vector<std::string> trace;
    std::vector<pb::ReportCommandUpdatesRequest> updates;
    int finished = 0;
    /// Every call fails with this while it is set.
    std::optional<Error> down;
    /// The next streams break after so many bytes; one entry per stream.
    std::vector<std::size_t> break_after;
    bool counts_bytes = true;
    pb::CommandsResponse commands;

    Status has(const LogPositions& positions) const {
      for (const auto& [step, bytes] : positions) {
        const auto log = logs.find(step);
        if (log == logs.end() || log->second.size() < bytes) return error(Code::DataLoss, "short");
      }
      return {};
    }
  };

  Guarded<State>& state() { return state_; }

  Result<pb::CommandsResponse> initial_commands(const pb::InitialCommandsRequest&, const StopToken&,
                                                Monotonic) override {
    return state_.update([](State& state) -> Result<pb::CommandsResponse> {
      if (state.down) return *state.down;
      state.trace.push_back("commands");
      return state.commands;
    });
  }
  Status report_updates(const pb::ReportCommandUpdatesRequest& request, const LogPositions& after,
                        const StopToken&, Monotonic) override {
    return state_.update([&](State& state) -> Status {
      if (state.down) return *state.down;
      CIRRUS_TRY(state.has(after));
      state.updates.push_back(request);
      for (const auto& update : request.updates()) {
        state.trace.push_back("update " + update.name() + " " + pb::Status_Name(update.status()));
      }
      return {};
    });
  }
  Status report_finished(const pb::ReportAgentFinishedRequest&, const LogPositions& after,
                         const StopToken&, Monotonic) override {
    return state_.update([&](State& state) -> Status {
      if (state.down) return *state.down;
      CIRRUS_TRY(state.has(after));
      ++state.finished;
      state.trace.push_back("finished");
      return {};
    });
  }
  Status report_warning(const pb::ReportAgentProblemRequest& request, const StopToken&,
                        Monotonic) override {
    return note("warning " + request.message());
  }
  Status report_error(const pb::ReportAgentProblemRequest& request, const StopToken&,
                      Monotonic) override {
    return note("error " + request.message());
  }
  Status report_signal(const pb::ReportAgentSignalRequest& request, const StopToken&,
                       Monotonic) override {
    return note("signal " + request.signal());
  }
  Status report_annotations(const pb::ReportAnnotationsCommandRequest&, const StopToken&,
                            Monotonic) override {
    return note("annotations");
  }
  Status heartbeat(const StopToken&, Monotonic) override { return note("heartbeat"); }

  std::unique_ptr<LogStream> open_log(const std::string& step, std::uint64_t offset,
                                      const StopToken&) override {
    return std::make_unique<Stream>(*this, step, offset);
  }
  Status save_log(const std::string& step, const std::function<Result<std::string>()>& read,
                  const StopToken&, Monotonic) override {
    std::string whole;
    for (;;) {
      const std::string bytes = CIRRUS_TRY(read());
      if (bytes.empty()) break;
      whole += bytes;
    }
    return state_.update([&](State& state) -> Status {
      if (state.down) return *state.down;
      state.saved[step] = whole;
      state.trace.push_back("save " + step);
      return {};
    });
  }

 private:
  class Stream final : public LogStream {
   public:
    Stream(FakeTaskService& service, std::string step, std::uint64_t offset)
        : service_(service), step_(std::move(step)), offset_(offset) {
      service_.state_.with([&](State& state) {
        failure_ = state.down;
        if (!state.break_after.empty()) {
          limit_ = state.break_after.front();
          state.break_after.erase(state.break_after.begin());
        }
        if (state.counts_bytes && offset_ > state.logs[step_].size()) {
          failure_ = error(Code::FailedPrecondition, "gap");
        }
      });
    }
    Result<std::optional<std::uint64_t>> stored() override {
      return service_.state_.with([&](State& state) -> std::optional<std::uint64_t> {
        if (!state.counts_bytes) return std::nullopt;
        return state.logs[step_].size();
      });
    }
    Status write(std::string_view bytes) override {
      if (failure_) return *failure_;
      if (limit_ && *limit_ < bytes.size()) {
        take(bytes.substr(0, *limit_));
        failure_ = error(Code::Unavailable, "the stream broke");
        return *failure_;
      }
      if (limit_) *limit_ -= bytes.size();
      take(bytes);
      return {};
    }
    Result<LogAck> finish() override {
      if (failure_) return *failure_;
      return service_.state_.with([&](State& state) {
        return LogAck{state.logs[step_].size(), state.synced[step_]};
      });
    }

   private:
    void take(std::string_view bytes) {
      service_.state_.update([&](State& state) {
        std::string& log = state.logs[step_];
        if (!state.counts_bytes) {
          log += bytes;
          return;
        }
        const std::size_t known = log.size() - std::min<std::size_t>(log.size(), offset_);
        if (known < bytes.size()) {
          state.trace.push_back(
              fmt::format("log {} {}-{}", step_, log.size(), offset_ + bytes.size()));
          log += bytes.substr(known);
        }
        offset_ += bytes.size();
      });
    }

    FakeTaskService& service_;
    const std::string step_;
    std::uint64_t offset_;
    std::optional<std::size_t> limit_;
    std::optional<Error> failure_;
  };

  Status note(std::string line) {
    return state_.update([&](State& state) -> Status {
      if (state.down) return *state.down;
      state.trace.push_back(std::move(line));
      return {};
    });
  }

  Guarded<State> state_;
};

}  // namespace cirrus::rpc::testing
