// SPDX-License-Identifier: MIT
// The agent in a guest: which program, and how it gets there and is started.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "net/ssh/ssh_session.h"

namespace cirrus::isolation {

/// What a guest is, in the words of agents' file names.
struct GuestKind {
  std::string os;    ///< `linux`, `darwin`, ...
  std::string arch;  ///< `amd64`, `arm64`, ...
};

/// Asks the guest itself (`uname`), which knows better than its tool.
Result<GuestKind> guest_kind(net::SshSession& session, const StopToken& stop, Monotonic deadline);

/// Where agents may lie.
struct AgentPrograms {
  std::filesystem::path own;  ///< the agent for this host
  GuestKind own_kind;
  std::vector<std::filesystem::path> directories;  ///< hold `cirrus-agent-<os>-<arch>`
  /// Errors: NotFound, naming every path that was looked at.
  Result<std::filesystem::path> find(const GuestKind& kind) const;
};

/// A private directory in the guest with the agent in it. Errors: those of the upload.
Result<std::string> install_agent(net::SshSession& session, const std::filesystem::path& program,
                                  const StopToken& stop, Monotonic deadline);

/// The command that runs the installed agent's `verb` (`start`, `attach`, `interrupt`) from the
/// user's login shell, with these variables more.
std::string agent_command(const std::string& directory, const std::string& verb,
                          const std::map<std::string, std::string>& variables);

}  // namespace cirrus::isolation
