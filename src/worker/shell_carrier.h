// SPDX-License-Identifier: MIT
// ShellCarrier: shells that people open through one upstream, on their way to agents.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/guarded.h"
#include "base/stop.h"
#include "rpc/shell_hub.h"

namespace cirrus::worker {

/// Listens for orders and joins each one's two halves. Threads: one that listens, two for each
/// shell that is open.
class ShellCarrier {
 public:
  /// Whether a task is this upstream's: nobody gets a shell in another controller's task.
  using Owns = std::function<bool(const std::string& task_id)>;

  /// `agents`: where agents listen; must outlive this.
  ShellCarrier(std::unique_ptr<rpc::ShellLink> upstream, rpc::ShellHub& agents, Owns owns);
  ShellCarrier(const ShellCarrier&) = delete;
  ShellCarrier& operator=(const ShellCarrier&) = delete;

 private:
  struct Carried {
    Thread thread;
    std::shared_ptr<std::atomic<bool>> done;
  };
  void listen(const StopToken& stop);
  void carry(const rpc::ShellOrder& order, const StopToken& stop);
  /// The agent's half; waits a little, because agents begin to listen after their first moment.
  Result<std::shared_ptr<rpc::ByteChannel>> open(const rpc::ShellOrder& order,
                                                 const StopToken& stop);

  const std::unique_ptr<rpc::ShellLink> upstream_;
  rpc::ShellHub& agents_;
  const Owns owns_;
  Guarded<std::list<Carried>> carried_;
  Thread listening_;  // last: uses everything above
};

}  // namespace cirrus::worker
