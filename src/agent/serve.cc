// SPDX-License-Identifier: MIT
#include "agent/serve.h"

#include <signal.h>

#include <memory>

#include "agent/log_pump.h"
#include "agent/outbox.h"
#include "agent/task_run.h"
#include "agent/uplink.h"
#include "os/signals.h"

namespace cirrus::agent {
namespace {

constexpr std::chrono::seconds kLookAgain{1};

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
  os::block_signals({SIGINT, SIGTERM, SIGHUP, SIGCHLD});
}

Status serve(const gateway::v1::Bootstrap& bootstrap, rpc::GatewayLink& link,
             rpc::BlobService& blobs, std::string_view version,
             const std::function<void()>& on_delivered) {
  Outbox outbox;
  for (const auto& position : bootstrap.log_positions()) {
    outbox.begin_at(position.step(), position.offset());
  }
  const std::unique_ptr<TaskControl> control = CIRRUS_TRY(TaskControl::create());
  const os::SignalThread signals({SIGINT, SIGTERM, SIGHUP, SIGCHLD}, [&control](int number) {
    if (number == SIGCHLD) {
      control->child_ended();
    } else if (number != SIGHUP) {
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
