// SPDX-License-Identifier: MIT
#include "agent/log_pump.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace cirrus::agent {
namespace {

// As much as one message to the gateway carries. The kernel may refuse a pipe this large; then it
// stays as it is.
constexpr int kPipeBytes = 256 * 1024;

}  // namespace

bool LogPump::Source::wait_closed(std::chrono::nanoseconds patience, Monotonic give_up) {
  for (;;) {
    const Monotonic now = std::chrono::steady_clock::now();
    if (now >= give_up) pump_.outbox_.abandon();
    const Monotonic deadline = now + patience;
    enum class Verdict { Closed, GiveUp, WaitOn };
    const Verdict verdict = state_.wait_until(
        StopToken(), deadline, [](const State& state) { return state.closed; },
        [](const State& state, bool closed) {
          if (closed) return Verdict::Closed;
          // Waiting for the gateway is no sign that somebody holds the pipe.
          return state.blocked ? Verdict::WaitOn : Verdict::GiveUp;
        });
    if (verdict != Verdict::WaitOn) return verdict == Verdict::Closed;
  }
}

void LogPump::Source::finish_now() {
  state_.with([](State& state) { state.mute_when_empty = true; });
  pump_.waker_.wake();
  state_.wait(
      StopToken(), [](const State& state) { return state.closed || state.muted; },
      [](const State&, bool) {});
}

Result<std::unique_ptr<LogPump>> LogPump::create(Outbox& outbox) {
  os::Waker waker = CIRRUS_TRY(os::Waker::create());
  return std::unique_ptr<LogPump>(new LogPump(outbox, std::move(waker)));
}

LogPump::LogPump(Outbox& outbox, os::Waker waker)
    : outbox_(outbox),
      waker_(std::move(waker)),
      thread_([this](const StopToken& stop) { run(stop); }) {}

std::shared_ptr<LogPump::Source> LogPump::add(os::Fd read_end, StepLog& log) {
  (void)os::set_nonblocking(read_end.get(), true);
  (void)::fcntl(read_end.get(), F_SETPIPE_SZ, kPipeBytes);
  std::shared_ptr<Source> source(new Source(std::move(read_end), log, *this));
  added_.with([&source](auto& list) { list.push_back(source); });
  waker_.wake();
  return source;
}

void LogPump::run(const StopToken& stop) {
  const StopCallback wake_on_stop(stop, [this] { waker_.wake(); });
  std::vector<char> buffer(kPipeBytes);
  std::list<std::shared_ptr<Source>> sources;
  std::vector<pollfd> polled;
  while (!stop.stop_requested()) {
    added_.with([&sources](auto& list) { sources.splice(sources.end(), list); });
    std::erase_if(sources, [](const auto& source) { return !source->fd_.valid(); });
    polled.assign(1, {waker_.fd(), POLLIN, 0});
    for (const auto& source : sources) polled.push_back({source->fd_.get(), POLLIN, 0});
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;
    if (polled[0].revents != 0) waker_.clear();
    std::size_t at = 1;
    for (const auto& source : sources) {
      if (polled[at++].revents != 0) read_once(*source, buffer, stop);
      apply_mute(*source);
    }
  }
}

void LogPump::read_once(Source& source, std::span<char> buffer, const StopToken& stop) {
  const bool muted = source.state_.with([](const Source::State& state) { return state.muted; });
  if (!muted && outbox_.is_full()) {
    source.state_.with([](Source::State& state) { state.blocked = true; });
    (void)outbox_.wait_for_room(stop);
    source.state_.update([](Source::State& state) { state.blocked = false; });
    if (stop.stop_requested()) return;
  }
  const Result<std::size_t> got = os::read_some(source.fd_.get(), buffer);
  if (!got.ok() && got.error().code() == Code::Unavailable) return;
  if (!got.ok() || got.value() == 0) {
    source.fd_.reset();
    source.state_.update([](Source::State& state) { state.closed = true; });
    return;
  }
  if (muted) return;
  source.log_.write({buffer.data(), got.value()});
  if (source.unread_) *source.unread_ -= std::min(*source.unread_, got.value());
}

void LogPump::apply_mute(Source& source) {
  const bool asked = source.state_.with([](const Source::State& state) {
    return state.mute_when_empty && !state.muted && !state.closed;
  });
  if (!asked) return;
  // Counted once: a writer that never pauses must not keep the step open.
  if (!source.unread_) {
    int bytes = 0;
    (void)::ioctl(source.fd_.get(), FIONREAD, &bytes);
    source.unread_ = static_cast<std::size_t>(std::max(bytes, 0));
  }
  if (*source.unread_ > 0) return;
  source.state_.update([](Source::State& state) { state.muted = true; });
}

}  // namespace cirrus::agent
