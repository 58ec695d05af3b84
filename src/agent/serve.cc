// SPDX-License-Identifier: MIT
#include "agent/serve.h"

#include <signal.h>

#include <memory>

#include "agent/log_pump.h"
#include "agent/outbox.h"
#include "agent/script_runner.h"
#include "agent/task_run.h"
#include "agent/uplink.h"
#include "os/signals.h"

namespace cirrus::agent {
namespace {

constexpr std::chrono::seconds kLookAgain{1};

/// Ends of children, and what an agent is sent by its worker, by mistake or by a dying machine.
constexpr std::initializer_list<int> kSignals = {SIGINT,  SIGTERM, SIGHUP, SIGQUIT,
                                                 SIGUSR1, SIGUSR2, SIGCHLD};

/// Reports a signal, at most one a second. Source: reference agent.
void report_signal(int number, Outbox& outbox, Monotonic& last) {
  const Monotonic now = std::chrono::steady_clock::now();
  if (last != Monotonic() && now - last < std::chrono::seconds(1)) return;
  last = now;
  gateway::v1::AgentMessage::Event event;
  event.mutable_signal()->set_signal(signal_words(number));
  outbox.post(std::move(event));
}

/// Waits until all is acknowledged. False: no gateway came back in time.
bool deliver(Outbox& outbox, const Uplink& uplink, Monotonic task_deadline) {
  for (;;) {
    const Monotonic now = std::chrono::steady_clock::now();
    if (outbox.wait_until_empty(now + kLookAgain)) return true;
    if (outbox.abandoned()) return false;
    if (!uplink.attached() && now > task_deadline + kGatewayPatience) return false;
  }
}

}  // namespace

void block_task_signals() {
  os::block_signals(kSignals);
}

Status serve(const gateway::v1::Bootstrap& bootstrap, rpc::GatewayLink& link,
             rpc::BlobService& blobs, rpc::TunnelLink& tunnels, rpc::VaultLink& vault,
             rpc::ShellLink& shells, std::string_view version,
             const std::function<void()>& on_delivered) {
  Outbox outbox;
  for (const auto& position : bootstrap.log_positions()) {
    outbox.begin_at(position.step(), position.offset());
  }
  const std::unique_ptr<TaskControl> control = CIRRUS_TRY(TaskControl::create());
  Monotonic last_signal;  // the signal thread only
  const os::SignalThread signals(kSignals, [&](int number) {
    if (number == SIGCHLD) return control->child_ended();
    report_signal(number, outbox, last_signal);
    if (number == SIGINT || number == SIGTERM) {
      control->cancel("signal " + std::to_string(number));
    }
  });
  Uplink uplink({.task_id = bootstrap.task_id(),
                 .agent_secret = Secret(bootstrap.agent_secret()),
                 .gateway_secret = Secret(bootstrap.gateway_secret()),
                 .agent_version = std::string(version)},
                link, outbox, [&control](const std::string& reason) { control->cancel(reason); });
  const std::unique_ptr<LogPump> pump = CIRRUS_TRY(LogPump::create(outbox));
  Monotonic deadline;
  {
    TaskRun task({.bootstrap = bootstrap,
                  .inherited = os::current_environment(),
                  .outbox = outbox,
                  .pump = *pump,
                  .control = *control,
                  .clock = system_clock(),
                  .blobs = blobs,
                  .tunnels = &tunnels,
                  .vault = &vault,
                  .shells = &shells,
                  .on_started = [&uplink] { uplink.start(); }});
    task.run();
    deadline = std::max(task.deadline(), std::chrono::steady_clock::now());
  }
  if (!deliver(outbox, uplink, deadline)) {
    return error(Code::Unavailable, "no task gateway came back to take the results");
  }
  on_delivered();
  return {};
}

}  // namespace cirrus::agent
