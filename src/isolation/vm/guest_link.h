// SPDX-License-Identifier: MIT
// GuestLink: keeps an agent in a guest connected to its gateway on this host.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/guarded.h"
#include "net/ssh/ssh_session.h"

namespace cirrus::isolation {

/// One thread: connects by SSH if need be, and passes bytes between agent and gateway until one of
/// them ends; then again. An agent of ours has a bridge; a reference agent has a port of its
/// loopback, to which it connects as often as it likes.
///
///   agent - unix socket - bridge - SSH - link - unix socket - gateway
///   reference agent - TCP - sshd - SSH - link - unix socket - gateway
class GuestLink {
 public:
  struct Options {
    net::SshTarget target;
    std::string directory;  ///< the agent's, in the guest
    std::filesystem::path gateway_socket;
    /// Of a reference agent; 0: it is one of ours.
    std::uint16_t forwarded_port = 0;
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
  bool serve_reference(const StopToken& stop);
  /// What a reference agent said last, for people.
  std::string last_words(const StopToken& stop);

  const Options options_;
  // The thread's.
  std::unique_ptr<net::SshSession> session_;
  std::unique_ptr<net::SshStream> stream_;
  Guarded<std::optional<std::string>> gone_;
  Thread thread_;  // last: uses everything above
};

}  // namespace cirrus::isolation
