// SPDX-License-Identifier: MIT
// The forwarder of TaskGateway: one thread per task, from the spool to the controller.
#include <algorithm>
#include <utility>

#include "base/backoff.h"
#include "base/fail_point.h"
#include "base/log.h"
#include "gateway/task_gateway.h"
#include "os/files.h"

namespace cirrus::gateway {

namespace {

constexpr std::size_t kChunk = 256U << 10U;             // Source: design 3.4
constexpr std::size_t kCarefulChunk = 16U << 10U;       // ours, after a connection broke
constexpr std::uint64_t kSegmentBytes = 4U << 20U;      // Source: design 3.4
constexpr auto kSegmentTime = std::chrono::seconds(1);  // Source: design 3.4
constexpr auto kCallTime = std::chrono::seconds(60);    // Source: reference agent, per attempt

Monotonic in(Duration time) {
  return system_clock().now() + time;
}

// The credential is not (any longer) that of a task the controller knows.
bool is_fencing(Code code) {
  return code == Code::Unauthenticated || code == Code::PermissionDenied || code == Code::NotFound;
}

// The server will say the same again; the reference's agent only logs these.
bool is_final(Code code) {
  return code == Code::Unimplemented || code == Code::FailedPrecondition ||
         code == Code::InvalidArgument || code == Code::OutOfRange;
}

}  // namespace

struct TaskGateway::Work {
  enum class Kind { Stop, Log, Event, Done } kind = Kind::Stop;
  std::string step;
  gw::AgentMessage::Event event;
};

// What to do next, in order of precedence:
//   1. the oldest event, if every log byte before it is stored upstream;
//   2. log bytes that the oldest event waits for;
//   3. log bytes of any step;
//   4. nothing left and nothing will come: done.
TaskGateway::Work TaskGateway::next_work(const StopToken& stop) {
  const auto pick = [this](State& state) -> std::optional<Work> {
    Work work;
    if (!state.events.empty()) {
      const gw::AgentMessage::Event& event = state.events.front();
      for (const gw::LogPosition& position : event.after()) {
        const auto log = state.logs.find(position.step());
        if (log == state.logs.end()) continue;
        const std::uint64_t needed =
            std::min<std::uint64_t>(position.offset(), log->second.spooled);
        const bool unsaved = !options_.log_offsets && !log->second.saved && needed > 0;
        if (log->second.upstream < needed || unsaved) {
          work.kind = Work::Kind::Log;
          work.step = position.step();
          return work;
        }
      }
      work.kind = Work::Kind::Event;
      work.event = event;
      return work;
    }
    for (const auto& [step, log] : state.logs) {
      if (log.upstream < log.spooled) {
        work.kind = Work::Kind::Log;
        work.step = step;
        return work;
      }
    }
    if (state.progress.finished || state.agent_gone) {
      work.kind = Work::Kind::Done;
      return work;
    }
    return std::nullopt;
  };
  return state_.wait(
      stop, [&](State& state) { return pick(state).has_value(); },
      [&](State& state, bool ready) { return ready ? *pick(state) : Work{}; });
}

void TaskGateway::forward(const StopToken& stop) {
  Backoff backoff(std::chrono::milliseconds(50), std::chrono::seconds(2));
  while (!stop.stop_requested()) {
    const Work work = next_work(stop);
    if (work.kind == Work::Kind::Stop) return;
    if (work.kind == Work::Kind::Done) {
      // Once done, more may still come: an agent that was thought gone, or its last report.
      state_.update([](State& state) { state.progress.forwarded = true; });
      state_.wait(
          stop, [](State& state) { return !state.events.empty(); }, [](State&, bool) {});
      continue;
    }
    Status sent;
    if (work.kind == Work::Kind::Event) {
      sent = send_event(work.event, stop);
      if (!sent.ok() && is_final(sent.error().code())) {
        log_warning("the controller refused a report",
                    {{"task", task_id()}, {"error", sent.error()}});
        sent = Status();
      }
      crash_point("gateway.result.sent");
      if (sent.ok()) event_forwarded(work.event.sequence());
      if (!sent.ok() && sent.error().code() == Code::DataLoss) doubt_logs(work.event);
    } else {
      sent = options_.log_offsets ? send_log(work.step, stop)
                                  : send_log_to_reference_server(work.step, stop);
    }
    if (stop.stop_requested()) return;
    if (sent.ok()) {
      backoff.reset();
      continue;
    }
    if (is_fencing(sent.error().code())) {
      log_warning("the controller disowns a task", {{"task", task_id()}, {"error", sent.error()}});
      state_.update([&](State& state) {
        state.progress.fenced = sent.error();
        state.progress.forwarded = true;
      });
      return;
    }
    log_debug("forwarding waits", {{"task", task_id()}, {"error", sent.error()}});
    if (!wait_for(stop, backoff.next())) return;
  }
}

// The controller has less than it acknowledged: what it has, its next streams say.
void TaskGateway::doubt_logs(const gw::AgentMessage::Event& event) {
  log_warning("the controller lost log bytes: sending them again", {{"task", task_id()}});
  state_.update([&](State& state) {
    for (const auto& position : event.after()) {
      StepLog& log = state.logs[position.step()];
      log.upstream = 0;
      log.unsure = true;
    }
  });
}

void TaskGateway::log_stored(const std::string& step, std::uint64_t offset) {
  std::shared_ptr<rpc::AgentConnection> resume;
  state_.update([&](State& state) {
    StepLog& log = state.logs[step];
    log.upstream = std::min(offset, log.spooled);
    if (!state.reading_paused) return;
    if (waiting_bytes(state) > options_.spool_quota / 2) return;
    state.reading_paused = false;
    resume = state.connection;
  });
  if (resume) resume->resume_reading();
}

// One segment: from what the controller has, until nothing is left to send and somebody waits for
// the acknowledgement, or 4 MiB, or one second.
Status TaskGateway::send_log(const std::string& step, const StopToken& stop) {
  Spool* spool = nullptr;
  std::uint64_t sent = 0;
  bool unsure = false;
  state_.with([&](State& state) {
    spool = state.logs[step].spool.get();
    sent = state.logs[step].upstream;
    unsure = std::exchange(state.logs[step].unsure, false);
  });
  const std::uint64_t begin = sent;
  const Monotonic end_of_segment = in(kSegmentTime);
  const std::unique_ptr<rpc::LogStream> stream = service_.open_log(step, sent, stop);
  if (unsure) {
    // Where connections live shorter than a segment takes, only this gets on.
    const Result<std::optional<std::uint64_t>> position = stream->stored();
    if (position.ok() && position.value().value_or(0) > sent) {
      log_stored(step, *position.value());
      return {};
    }
  }
  Status written;
  while (written.ok() && sent - begin < kSegmentBytes && !stop.stop_requested()) {
    // Waits for bytes; ends the segment when an event or another step has to be served.
    const bool more = state_.wait_until(
        stop, end_of_segment,
        [&](State& state) {
          if (state.logs[step].spooled > sent) return true;
          if (!state.events.empty() || state.agent_gone || state.progress.finished) return true;
          return std::any_of(state.logs.begin(), state.logs.end(), [&](const auto& entry) {
            return entry.first != step && entry.second.upstream < entry.second.spooled;
          });
        },
        [&](State& state, bool) { return state.logs[step].spooled > sent; });
    if (!more) break;
    const Result<std::string> bytes = spool->read(sent, unsure ? kCarefulChunk : kChunk);
    if (!bytes.ok()) return bytes.error();
    written = stream->write(bytes.value());
    if (written.ok()) sent += bytes.value().size();
    if (system_clock().now() >= end_of_segment) break;
  }
  const Result<rpc::LogAck> ack = stream->finish();
  crash_point("gateway.log.sent");
  if (ack.ok()) {
    log_stored(step, ack.value().stored);
    // The rest stays: a controller that lost its machine's power comes back with less.
    spool->discard_before(std::min(ack.value().synced, ack.value().stored));
    return {};
  }
  if (ack.error().code() == Code::FailedPrecondition) {
    // The controller has less than we believed: go back to what it says, and send again.
    const Result<std::optional<std::uint64_t>> position = stream->stored();
    if (position.ok() && position.value()) log_stored(step, *position.value());
    return error(Code::Unavailable, "the controller wants an earlier part of the log of '{}'",
                 step);
  }
  state_.with([&](State& state) { state.logs[step].unsure = true; });
  return ack.error();
}

// A reference server: one live stream while bytes come, then the whole log once more at the end
// of the step. The spool keeps everything until then.
Status TaskGateway::send_log_to_reference_server(const std::string& step, const StopToken& stop) {
  Spool* spool = nullptr;
  std::uint64_t sent = 0;
  state_.with([&](State& state) {
    spool = state.logs[step].spool.get();
    sent = state.logs[step].upstream;
  });
  const auto step_ended = [&](State& state) {
    if (state.agent_gone || state.progress.finished) return true;
    return std::any_of(state.events.begin(), state.events.end(), [&](const auto& event) {
      return std::any_of(event.after().begin(), event.after().end(),
                         [&](const auto& position) { return position.step() == step; });
    });
  };
  const std::unique_ptr<rpc::LogStream> stream = service_.open_log(step, sent, stop);
  bool ended = false;
  while (!ended && !stop.stop_requested()) {
    const bool more = state_.wait(
        stop,
        [&](State& state) {
          return state.logs[step].spooled > sent || step_ended(state) || !state.events.empty();
        },
        [&](State& state, bool) {
          ended = step_ended(state);
          return state.logs[step].spooled > sent;
        });
    if (!more) break;
    ended = false;
    const Result<std::string> bytes = spool->read(sent, kChunk);
    if (!bytes.ok()) return bytes.error();
    CIRRUS_TRY(stream->write(bytes.value()));
    sent += bytes.value().size();
    log_stored(step, sent);
  }
  const Result<rpc::LogAck> finished = stream->finish();
  if (!finished.ok()) return finished.error();
  if (!ended) return {};
  std::uint64_t position = 0;
  const Status saved = service_.save_log(
      step,
      [&]() -> Result<std::string> {
        std::string bytes = CIRRUS_TRY(spool->read(position, kChunk));
        position += bytes.size();
        return bytes;
      },
      stop, in(std::chrono::minutes(10)));
  if (!saved.ok() && saved.error().code() != Code::Unimplemented) return saved;
  state_.update([&](State& state) { state.logs[step].saved = true; });
  return {};
}

rpc::LogPositions TaskGateway::acknowledged_before(const gw::AgentMessage::Event& event) {
  rpc::LogPositions after;
  if (!options_.log_offsets) return after;
  state_.with([&](const State& state) {
    for (const auto& position : event.after()) {
      const auto log = state.logs.find(position.step());
      if (log == state.logs.end()) continue;
      after[position.step()] = std::min<std::uint64_t>(position.offset(), log->second.spooled);
    }
  });
  return after;
}

Status TaskGateway::send_event(const gw::AgentMessage::Event& event, const StopToken& stop) {
  using Event = gw::AgentMessage::Event;
  const Monotonic deadline = in(kCallTime);
  const rpc::LogPositions after = acknowledged_before(event);
  switch (event.event_case()) {
    case Event::kUpdates: return service_.report_updates(event.updates(), after, stop, deadline);
    case Event::kFinished: return service_.report_finished(event.finished(), after, stop, deadline);
    case Event::kWarning: return service_.report_warning(event.warning(), stop, deadline);
    case Event::kError: return service_.report_error(event.error(), stop, deadline);
    case Event::kSignal: return service_.report_signal(event.signal(), stop, deadline);
    case Event::kAnnotations:
      return service_.report_annotations(event.annotations(), stop, deadline);
    case Event::EVENT_NOT_SET: return {};  // of a newer agent; nothing we could say of it
  }
  return {};
}

void TaskGateway::event_forwarded(std::uint64_t sequence) {
  // `done` first: a crash in between sends the event twice at most, never not at all.
  (void)os::write_file(options_.paths.results() / "done", std::to_string(sequence));
  std::error_code ignored;
  std::filesystem::remove(options_.paths.results() / std::to_string(sequence), ignored);
  state_.update([&](State& state) {
    if (!state.events.empty() && state.events.front().sequence() == sequence) {
      state.events.pop_front();
    }
  });
}

}  // namespace cirrus::gateway
