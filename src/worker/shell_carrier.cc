// SPDX-License-Identifier: MIT
#include "worker/shell_carrier.h"

#include <utility>

#include "base/backoff.h"
#include "base/log.h"
#include "rpc/join_channels.h"

namespace cirrus::worker {
namespace {

constexpr std::chrono::milliseconds kAgain{100};
constexpr std::chrono::seconds kAgentPatience{10};
// Ours: for a controller to take a shell's last words and end the call.
constexpr std::chrono::seconds kFarewell{10};

}  // namespace

ShellCarrier::ShellCarrier(std::unique_ptr<rpc::ShellLink> upstream, rpc::ShellHub& agents,
                           Owns owns)
    : upstream_(std::move(upstream)),
      agents_(agents),
      owns_(std::move(owns)),
      listening_([this](const StopToken& stop) { listen(stop); }) {}

void ShellCarrier::listen(const StopToken& stop) {
  Backoff backoff(std::chrono::milliseconds(500), std::chrono::seconds(30));
  while (!stop.stop_requested()) {
    const Monotonic begun = std::chrono::steady_clock::now();
    const Status ended = upstream_->listen(stop, [this](const rpc::ShellOrder& order) {
      carried_.with([&](auto& list) {
        list.remove_if([](const Carried& one) { return one.done->load(); });
        const auto done = std::make_shared<std::atomic<bool>>(false);
        list.push_back({Thread([this, order, done](const StopToken& closing) {
                          carry(order, closing);
                          done->store(true);
                        }),
                        done});
      });
    });
    if (!ended.ok() && ended.error().code() == Code::Unimplemented) return;
    if (std::chrono::steady_clock::now() - begun > std::chrono::seconds(5)) backoff.reset();
    if (!wait_for(stop, backoff.next())) return;
  }
}

Result<std::shared_ptr<rpc::ByteChannel>> ShellCarrier::open(const rpc::ShellOrder& order,
                                                             const StopToken& stop) {
  if (!owns_(order.task_id())) {
    return error(Code::NotFound, "task {} does not run here", order.task_id());
  }
  const Monotonic deadline = std::chrono::steady_clock::now() + kAgentPatience;
  for (;;) {
    Result<std::shared_ptr<rpc::ByteChannel>> near = agents_.open(order.task_id(), order);
    if (near.ok() || near.error().code() != Code::NotFound) return near;
    if (std::chrono::steady_clock::now() > deadline || !owns_(order.task_id()) ||
        !wait_for(stop, kAgain)) {
      return error(Code::NotFound,
                   "the agent of task {} opens no shells (one that is a reference CLI binary does "
                   "only in attempts of 'cirrus task rerun --terminal')",
                   order.task_id());
    }
  }
}

void ShellCarrier::carry(const rpc::ShellOrder& order, const StopToken& stop) {
  Result<std::unique_ptr<rpc::ByteChannel>> person = upstream_->carry(order.session());
  if (!person.ok()) return;
  const Result<std::shared_ptr<rpc::ByteChannel>> agent = open(order, stop);
  if (!agent.ok()) {
    (void)person.value()->write(agent.error().to_string() + "\r\n");
    person.value()->finish_writing();
    while (person.value()->read().value_or("") != "") {
    }
    return;
  }
  log_info("a shell is open", {{"task", order.task_id()}});
  rpc::join_channels(*agent.value(), *person.value(), stop, kFarewell);
  log_info("a shell is closed", {{"task", order.task_id()}});
}

}  // namespace cirrus::worker
