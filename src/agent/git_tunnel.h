// SPDX-License-Identifier: MIT
// GitTunnel: the worker's mirror of the task's repository, as an address git understands.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "base/guarded.h"
#include "base/stop.h"
#include "model/clone_plan.h"
#include "os/fd.h"
#include "rpc/byte_channel.h"

namespace cirrus::agent {

/// Brings what `request` asks for into the worker's mirror; `words` takes what git says there.
/// Errors: git's reason; Unimplemented and NotFound from workers without a mirror.
Status fetch_into_mirror(rpc::TunnelLink& link, const model::CloneRequest& request,
                         const StopToken& stop, const std::function<void(std::string_view)>& words);

/// Unpacks the clone that `request` asks for into `directory`: the worker's git makes it, for an
/// isolation that has none. After fetch_into_mirror. Errors: git's reason, and those of unpacking.
Status unpack_clone(rpc::TunnelLink& link, const model::CloneRequest& request,
                    const std::filesystem::path& directory, const StopToken& stop);

/// Listens on loopback while git fetches from the mirror, and carries each connection through a
/// tunnel. Speaks the head of the git protocol (git-daemon), because git knows no other transport
/// that needs neither a program on PATH nor a web server.
class GitTunnel {
 public:
  /// `only_uid`: set where other users reach this loopback. `link` must outlive the tunnel.
  static Result<std::unique_ptr<GitTunnel>> open(rpc::TunnelLink& link, model::CloneRequest request,
                                                 std::optional<uid_t> only_uid);
  ~GitTunnel();
  GitTunnel(const GitTunnel&) = delete;
  GitTunnel& operator=(const GitTunnel&) = delete;

  /// `git://127.0.0.1:port/<a word nobody guesses>`.
  const std::string& url() const { return url_; }

 private:
  GitTunnel(rpc::TunnelLink& link, model::CloneRequest request, std::optional<uid_t> only_uid,
            os::Fd listener);
  void listen(const StopToken& stop);
  void carry(os::Fd connection, const StopToken& stop);
  /// Reads what the client asks for. Errors: InvalidArgument if it is not our repository.
  Result<std::string> read_request(int connection, const StopToken& stop) const;

  rpc::TunnelLink& link_;
  const model::CloneRequest request_;
  const std::optional<uid_t> only_uid_;
  const os::Fd listener_;
  const int port_;
  const std::string word_;
  const std::string url_;
  Guarded<std::list<Thread>> connections_;
  Thread listening_;  // last: stopped and joined first
};

}  // namespace cirrus::agent
