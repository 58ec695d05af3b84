// SPDX-License-Identifier: MIT
// GuestLink: keeps an agent in a guest connected to its gateway on this host.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/guarded.h"
#include "net/ssh/ssh_session.h"

namespace cirrus::isolation {

/// One thread: connects by SSH if need be, attaches to the agent's bridge, and passes bytes between
/// it and the gateway's socket until one of them ends; then again.
///
///   agent - unix socket - bridge - SSH - link - unix socket - gateway
class GuestLink {
 public:
  struct Options {
    net::SshTarget target;
    std::string directory;  ///< the agent's, in the guest
    std::filesystem::path gateway_socket;
  };
  /// With the connection and the stream an agent was started on, or with neither.
  GuestLink(Options options, std::unique_ptr<net::SshSession> session,
            std::unique_ptr<net::SshStream> stream);
  GuestLink(const GuestLink&) = delete;
  GuestLink& operator=(const GuestLink&) = delete;

  /// Why there is no agent any more; absent while there is one, or nobody knows.
  std::optional<std::string> gone() const;
  /// Waits for gone().
  bool wait_gone(const StopToken& stop, std::optional<Monotonic> deadline);

 private:
  void run(const StopToken& stop);
  /// One attachment. True if the agent is gone.
  bool serve(const StopToken& stop);
  Status attach(const StopToken& stop);

  const Options options_;
  // The thread's.
  std::unique_ptr<net::SshSession> session_;
  std::unique_ptr<net::SshStream> stream_;
  Guarded<std::optional<std::string>> gone_;
  Thread thread_;  // last: uses everything above
};

}  // namespace cirrus::isolation
