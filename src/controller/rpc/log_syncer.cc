// SPDX-License-Identifier: MIT
#include "controller/rpc/log_syncer.h"

#include <charconv>
#include <optional>

#include "base/log.h"
#include "controller/rpc/call_metadata.h"
#include "model/entity_ids.h"
#include "rpc/peer.h"

namespace cirrus::controller::rpc {
namespace {

// Ours: file systems write several waiters' bytes at once; the queue holds a report of each of more
// tasks than one controller runs.
constexpr std::size_t kThreads = 8;
constexpr std::size_t kLongestQueue = 65'536;

Status sync(const blobs::LogStore& logs, model::TaskId task, const ReportedLogs& reported) {
  if (reported.wait == ReportedLogs::Wait::ForNothing) return {};
  if (reported.wait == ReportedLogs::Wait::ForAll) return logs.sync(task);
  for (const auto& [step, bytes] : reported.steps) CIRRUS_TRY(logs.sync(task, step));
  return {};
}

/// The first step of whose log less is here than was acknowledged.
Result<std::optional<std::string>> short_log(const blobs::LogStore& logs, model::TaskId task,
                                             const ReportedLogs& reported) {
  for (const auto& [step, bytes] : reported.steps) {
    if (CIRRUS_TRY(logs.size(task, step)) < bytes) return std::optional(step);
  }
  return std::optional<std::string>();
}

}  // namespace

ReportedLogs ReportedLogs::of(const grpc::CallbackServerContext& context) {
  ReportedLogs logs;
  logs.task = task_credential(context);
  const auto [begin, end] = context.client_metadata().equal_range(cirrus::rpc::kLogAfter);
  for (auto it = begin; it != end; ++it) {
    // The number, a space, and the step's name as it is.
    const std::string_view text(it->second.data(), it->second.size());
    std::uint64_t bytes = 0;
    const auto number = std::from_chars(text.data(), text.data() + text.size(), bytes);
    const auto rest = static_cast<std::size_t>(number.ptr - text.data());
    if (number.ec != std::errc() || rest >= text.size() || text[rest] != ' ') continue;
    logs.steps.emplace(text.substr(rest + 1), bytes);
  }
  return logs;
}

LogSyncer::LogSyncer(core::Core& core, blobs::LogStore& logs)
    : core_(core), logs_(logs), pool_(kThreads, kLongestQueue) {}

void LogSyncer::after_sync(ReportedLogs logs, grpc::ServerUnaryReactor* reactor,
                           std::function<void()> then) {
  const Result<model::TaskId> id = model::TaskId::parse(logs.task.id);
  // What is no task has no logs; the core will say so.
  if (!id.ok() || (logs.steps.empty() && logs.wait == ReportedLogs::Wait::ForNothing))
    return then();
  const bool queued = run([this, id = id.value(), logs = std::move(logs), reactor,
                           then = std::move(then)] {
    const Result<std::optional<std::string>> missing = [&]() -> Result<std::optional<std::string>> {
      CIRRUS_TRY(sync(logs_, id, logs));
      return short_log(logs_, id, logs);
    }();
    if (!missing.ok()) {
      log_error("a log is not on the disk", {{"task", id}, {"error", missing.error()}});
      return reactor->Finish(to_disk_status(missing));
    }
    if (!missing.value()) return then();
    unless_counted(logs, *missing.value(), reactor, then);
  });
  if (!queued) {
    reactor->Finish({grpc::StatusCode::UNAVAILABLE, "too many reports at once: try again"});
  }
}

// Bytes that came after a task's end were acknowledged and dropped.
void LogSyncer::unless_counted(const ReportedLogs& logs, const std::string& step,
                               grpc::ServerUnaryReactor* reactor,
                               const std::function<void()>& then) {
  const bool posted = core_.post([=](core::State& state, core::Moment moment) {
    state.log_permit(
        logs.task, step,
        [=](const Result<core::LogPermit>& permit) {
          if (!permit.ok() || !permit.value().gate->open) return then();
          log_warning("a log is shorter than was acknowledged: its worker sends it again",
                      {{"task", logs.task.id}, {"step", step}});
          reactor->Finish({grpc::StatusCode::DATA_LOSS,
                           fmt::format("bytes of the log of step '{:.80}' are missing", step)});
        },
        moment);
  });
  if (!posted) reactor->Finish(shutting_down());
}

bool LogSyncer::run(std::function<void()> job) {
  return pool_.run([job = std::move(job)](const StopToken&) { job(); });
}

}  // namespace cirrus::controller::rpc
