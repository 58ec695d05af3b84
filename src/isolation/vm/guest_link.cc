// SPDX-License-Identifier: MIT
#include "isolation/vm/guest_link.h"

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "isolation/vm/guest_agent.h"
#include "model/agent_bridge.h"
#include "os/unix_socket.h"

namespace cirrus::isolation {
namespace {

// Source: design 3.8.
constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{2000};
// Ours: one round of attempts to connect, and a bridge's time to be ready.
constexpr std::chrono::seconds kConnectTime{10};
constexpr std::chrono::seconds kReadyTime{30};

Monotonic in(std::chrono::nanoseconds time) {
  return std::chrono::steady_clock::now() + time;
}

}  // namespace

GuestLink::GuestLink(Options options, std::unique_ptr<net::SshSession> session,
                     std::unique_ptr<net::SshStream> stream)
    : options_(std::move(options)),
      session_(std::move(session)),
      stream_(std::move(stream)),
      thread_([this](const StopToken& stop) { run(stop); }) {}

std::optional<std::string> GuestLink::gone() const {
  return gone_.with([](const std::optional<std::string>& gone) { return gone; });
}

bool GuestLink::wait_gone(const StopToken& stop, std::optional<Monotonic> deadline) {
  const auto ready = [](const std::optional<std::string>& gone) { return gone.has_value(); };
  const auto answer = [](std::optional<std::string>&, bool reached) { return reached; };
  if (deadline) return gone_.wait_until(stop, *deadline, ready, answer);
  return gone_.wait(stop, ready, answer);
}

void GuestLink::run(const StopToken& stop) {
  std::chrono::milliseconds pause = kFirstPause;
  while (!stop.stop_requested()) {
    const Monotonic begun = std::chrono::steady_clock::now();
    const bool reference = options_.forwarded_port != 0;
    if (reference ? serve_reference(stop) : serve(stop)) {
      const std::string words = reference ? last_words(stop) : std::string();
      gone_.update([&words](std::optional<std::string>& gone) {
        gone = words.empty() ? "the agent ended" : "the agent ended: " + words;
      });
      break;
    }
    if (std::chrono::steady_clock::now() - begun > kLongestPause) pause = kFirstPause;
    if (!wait_for(stop, pause)) break;
    pause = std::min(pause * 2, kLongestPause);
  }
  stream_.reset();
  session_.reset();
}

bool GuestLink::serve(const StopToken& stop) {
  if (!stream_) {
    const Status attached = attach(stop);
    if (!attached.ok()) {
      stream_.reset();
      session_.reset();
      if (attached.error().code() == Code::NotFound) return true;
      if (!stop.stop_requested()) {
        log_debug("guest not attached",
                  {{"host", options_.target.host}, {"error", attached.error()}});
      }
      return false;
    }
  }
  const Result<os::Fd> gateway = os::connect_unix(options_.gateway_socket);
  if (!gateway.ok()) {
    stream_.reset();
    return false;
  }
  const Result<std::optional<int>> end = stream_->relay(gateway.value().get(), stop);
  stream_.reset();
  if (!end.ok()) {
    session_.reset();
    return false;
  }
  return end.value() == static_cast<int>(model::BridgeEnd::AgentGone);
}

bool GuestLink::serve_reference(const StopToken& stop) {
  const Result<std::optional<int>> end = [&]() -> Result<std::optional<int>> {
    if (!session_) {
      session_ = CIRRUS_TRY(net::SshSession::connect(options_.target, stop, in(kConnectTime)));
      // Until the server has let go of the old connection it is taken.
      CIRRUS_TRY(session_->listen(options_.forwarded_port));
    }
    return session_->forward(reference_watch_command(options_.directory), options_.gateway_socket,
                             stop);
  }();
  if (end.ok() && end.value()) return true;
  session_.reset();
  if (!end.ok() && !stop.stop_requested()) {
    log_debug("guest not attached", {{"host", options_.target.host}, {"error", end.error()}});
  }
  return false;
}

std::string GuestLink::last_words(const StopToken& stop) {
  if (!session_) return {};
  const Result<net::SshCommandEnd> end =
      session_->run("tail -n 1 " + options_.directory + "/agent.log", {}, stop, in(kConnectTime));
  return end.ok() ? shorten(std::string(trim(end.value().output)), 200) : std::string();
}

// NotFound: there is no agent.
Status GuestLink::attach(const StopToken& stop) {
  if (!session_) {
    session_ = CIRRUS_TRY(net::SshSession::connect(options_.target, stop, in(kConnectTime)));
  }
  stream_ = CIRRUS_TRY(session_->open(agent_command(options_.directory, "attach", {})));
  const Status ready = stream_->expect(model::kBridgeReady, stop, in(kReadyTime));
  if (ready.ok() || ready.error().code() != Code::FailedPrecondition) return ready;
  // It ended at once: by its status it says whether for want of an agent.
  const net::SshCommandEnd look =
      CIRRUS_TRY(session_->run("test -e " + options_.directory + "/cirrus-agent && " +
                                   agent_command(options_.directory, "alive", {}),
                               {}, stop, in(kReadyTime)));
  if (look.exit_code == 0) return ready;
  return error(Code::NotFound, "there is no agent in the guest");
}

}  // namespace cirrus::isolation
