// SPDX-License-Identifier: MIT
#include "worker/upstream_loop.h"

#include <exception>
#include <random>

#include "base/backoff.h"
#include "base/log.h"

namespace cirrus::worker {

namespace {
constexpr auto kRegisterTime = std::chrono::seconds(30);
// Ours: the longest hold of a server (25 s) and a minute for the way.
constexpr auto kPollTime = std::chrono::seconds(85);
constexpr auto kGoodbyeTime = std::chrono::seconds(2);
constexpr std::uint32_t kFirstInterval = 10;      // Source: reference worker, seconds
constexpr std::uint32_t kLongestInterval = 3600;  // Source: reference worker, seconds

// Ours: answers without content, each within 20 ms, before the loop slows down to one a second.
constexpr int kPatienceWithEmptyAnswers = 20;

Monotonic in(Duration time) {
  return system_clock().now() + time;
}

// Up to a tenth less, so that workers that started together do not poll together for ever.
Duration with_jitter(std::uint32_t seconds) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  const double factor = std::uniform_real_distribution<double>(0.9, 1.0)(random);
  return std::chrono::duration_cast<Duration>(std::chrono::seconds(seconds) * factor);
}

bool is_refusal(Code code) {
  return code == Code::Unauthenticated || code == Code::PermissionDenied ||
         code == Code::AlreadyExists;
}
}  // namespace

UpstreamLoop::UpstreamLoop(std::shared_ptr<Session> session, PollOwner& owner, std::uint64_t number)
    : session_(std::move(session)),
      owner_(owner),
      number_(number),
      thread_([this](const StopToken& stop) { run(stop); }) {}

UpstreamLoop::~UpstreamLoop() {
  session_->on_doubt(nullptr);
  request_stop();
  if (thread_.joinable()) thread_.join();
}

void UpstreamLoop::request_stop() {
  thread_.request_stop();
  state_.update([](State& state) { state.interrupt.request_stop(); });
}

void UpstreamLoop::drain() {
  state_.update([](State& state) {
    state.draining = true;
    state.poll_now = true;
    state.interrupt.request_stop();
  });
}

void UpstreamLoop::say_goodbye() {
  if (thread_.joinable()) thread_.join();
  if (!registered() || !session_->server().hold()) return;
  rpc::PollContext context;
  context.session = session_->token();
  context.number = ++number_;
  context.draining = true;
  context.leaving = true;
  const auto said = session_->upstream().poll(owner_.make_poll(*session_), context, StopToken(),
                                              in(kGoodbyeTime));
  if (!said.ok()) log_debug("the controller did not hear the end", {{"error", said.error()}});
}

void UpstreamLoop::refresh() {
  state_.update([](State& state) {
    state.poll_now = true;
    state.interrupt.request_stop();
  });
}

void UpstreamLoop::poll_soon() {
  state_.update([](State& state) { state.poll_now = true; });
}

void UpstreamLoop::pause(const StopToken& stop, Duration time) {
  state_.wait_until(
      stop, in(time), [](State& state) { return state.poll_now; },
      [](State& state, bool) { state.poll_now = false; });
}

void UpstreamLoop::note_failure(const Error& failure) {
  state_.with([&](State& state) { state.facts.failure = failure.to_string(); });
}

Status UpstreamLoop::register_here(const StopToken& stop) {
  const rpc::pb::PollRequest request = owner_.make_poll(*session_);
  rpc::RegisterReply reply = CIRRUS_TRY(session_->upstream().register_worker(
      request.worker_info(), number_, stop, in(kRegisterTime)));
  session_->renew(std::move(reply.session_token), reply.server);
  const bool first = state_.update([](State& state) {
    state.facts.failure.clear();
    return !std::exchange(state.facts.registered, true);
  });
  log_info(first ? "registered on upstream" : "registered on upstream again",
           {{"upstream", session_->endpoint()}, {"server", reply.server.to_string()}});
  return {};
}

Result<rpc::PollReply> UpstreamLoop::poll_once(const StopToken& stop) {
  rpc::PollContext context;
  context.session = session_->token();
  context.number = ++number_;
  const bool wanted = owner_.wants_tasks();
  // A fresh source per poll: what interrupted the last one must not end this one.
  const StopToken interrupt = state_.update([&](State& state) {
    context.draining = state.draining || !wanted;
    state.interrupt = StopSource();
    if (stop.stop_requested()) state.interrupt.request_stop();
    return state.interrupt.get_token();
  });
  return session_->upstream().poll(owner_.make_poll(*session_), context, interrupt, in(kPollTime));
}

void UpstreamLoop::run(const StopToken& stop) {
  session_->on_doubt([this] { poll_soon(); });
  Backoff backoff(std::chrono::milliseconds(100), std::chrono::seconds(2));
  Backoff refused(std::chrono::seconds(1), std::chrono::seconds(30));
  std::uint32_t interval = kFirstInterval;
  int empty_answers = 0;
  bool registered_once = false;
  bool must_register = true;
  while (!stop.stop_requested()) {
    if (session_->doubted()) must_register = true;
    if (must_register) {
      const Status registered = register_here(stop);
      if (stop.stop_requested()) return;
      if (!registered.ok()) {
        note_failure(registered.error());
        log_warning("failed to register on the upstream",
                    {{"upstream", session_->endpoint()}, {"error", registered.error()}});
        if (is_refusal(registered.error().code())) {
          if (!registered_once) {
            owner_.on_refused(*session_, registered.error());
          }
          pause(stop, refused.next());
        } else {
          pause(stop, backoff.next());
        }
        continue;
      }
      registered_once = true;
      must_register = false;
      backoff.reset();
      refused.reset();
    }
    const bool reference = !session_->server().hold();
    if (reference &&
        (state_.with([](const State& state) { return state.draining; }) || !owner_.wants_tasks())) {
      // A reference server would answer with tasks.
      pause(stop, std::chrono::seconds(interval));
      continue;
    }
    const Monotonic asked = system_clock().now();
    const Result<rpc::PollReply> reply = poll_once(stop);
    if (stop.stop_requested()) return;
    if (!reply.ok()) {
      const Code code = reply.error().code();
      if (code == Code::Cancelled) continue;  // taken back by drain
      note_failure(reply.error());
      log_warning("failed to poll the upstream",
                  {{"upstream", session_->endpoint()}, {"error", reply.error()}});
      if (code == Code::Unauthenticated || code == Code::PermissionDenied ||
          code == Code::NotFound) {
        session_->forget();
        must_register = true;
      }
      pause(stop, backoff.next());
      continue;
    }
    backoff.reset();
    state_.with([](State& state) {
      state.facts.failure.clear();
      state.facts.last_poll = system_clock().wall();
    });
    const rpc::pb::PollResponse& response = reply.value().response;
    try {
      owner_.on_reply(session_, response);
    } catch (const std::exception& failure) {
      // No thread for one more task: it was not accepted, so the controller gives it away again.
      log_error("a poll's answer was not carried out",
                {{"upstream", session_->endpoint()}, {"error", failure.what()}});
    }
    // An empty session token means: register before every poll. Source: protocol, sequence 2.
    if (session_->token().empty()) must_register = true;
    const std::uint32_t wanted = response.poll_interval_in_seconds();
    if (wanted >= 1 && wanted <= kLongestInterval) interval = wanted;
    if (!reference) {
      // A server that announced `hold` and does not must not be polled in a busy loop.
      const bool idle_answer = response.tasks_to_start().empty() &&
                               response.tasks_to_stop().empty() &&
                               system_clock().now() - asked < std::chrono::milliseconds(20);
      empty_answers = idle_answer ? empty_answers + 1 : 0;
      if (empty_answers > kPatienceWithEmptyAnswers) pause(stop, std::chrono::seconds(1));
      continue;
    }
    pause(stop, with_jitter(interval));
  }
}

}  // namespace cirrus::worker
