// SPDX-License-Identifier: MIT
// Connections to a port of the server's loopback, passed on to a socket here. For this folder's own
// files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/stop.h"
#include "net/ssh/channels.h"
#include "os/fd.h"
#include "os/waker.h"

namespace cirrus::net {

/// See SshSession::listen.
Result<std::uint16_t> listen_in_guest(ssh_session session, std::uint16_t port);

/// All connections of one session that has listened.
class PortForward {
 public:
  PortForward(ssh_session session, std::filesystem::path target, os::Waker waker)
      : session_(session), target_(std::move(target)), waker_(std::move(waker)) {}
  /// See SshSession::forward; `watched` is its command.
  Result<std::optional<int>> run(ssh_channel watched, const StopToken& stop);

 private:
  struct Passage {
    Channel channel;
    os::Fd socket;     // invalid: to be dropped
    std::string down;  // from the guest, not yet taken here
  };

  /// True if anything new came.
  bool accept();
  /// True if bytes moved.
  bool pass_down(Passage& passage);
  bool pass_down_all();
  void pass_up(Passage& passage);
  bool is_more_waiting(ssh_channel watched);
  Status wait();

  const ssh_session session_;
  const std::filesystem::path target_;
  const os::Waker waker_;
  std::vector<Passage> passages_;
};

}  // namespace cirrus::net
