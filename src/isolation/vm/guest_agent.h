// SPDX-License-Identifier: MIT
// The agent in a guest: which program, and how it gets there and is started.
#pragma once

#include <cstdint>
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

/// A program for a guest.
struct AgentProgram {
  std::filesystem::path path;
  /// A reference CLI binary: started as `cirrus agent`, it wants a server.
  bool reference = false;
};

/// Where agents may lie.
struct AgentPrograms {
  std::filesystem::path own;  ///< the agent for this host
  GuestKind own_kind;
  /// Hold `cirrus-agent-<os>-<arch>`, or a reference CLI binary as `cirrus-<os>-<arch>`.
  std::vector<std::filesystem::path> directories;
  /// The reference's own, which holds `cirrus-<version>-<os>-<arch>`. Source: reference worker,
  /// agent binary.
  std::filesystem::path reference_cache;
  /// Ours before the reference's, whose newest version. Errors: NotFound, naming every path that
  /// was looked at.
  Result<AgentProgram> find(const GuestKind& kind) const;
};

/// A shell's question whether a file's content has this SHA-256; status kNoDigestTool where there
/// is nothing to compute it with. `file` stands in it as it is.
std::string has_digest(const std::string& file, const std::string& digest);
inline constexpr int kNoDigestTool = 3;

/// A private directory in the guest with the agent in it. A guest that has the same program already
/// (in `.cache/cirrus/agents/<SHA-256>` below the home, from its image) is not sent it again.
/// Errors: those of the upload.
Result<std::string> install_agent(net::SshSession& session, const AgentProgram& program,
                                  const StopToken& stop, Monotonic deadline);

/// The command that runs the installed agent's `verb` (`start`, `attach`, `interrupt`) from the
/// user's login shell, with these variables more.
std::string agent_command(const std::string& directory, const std::string& verb,
                          const std::map<std::string, std::string>& variables);

/// How a reference CLI binary is told its task. The secrets are the task's own between guest and
/// worker; they stand on a command line, as the reference's worker puts them there.
struct ReferenceStart {
  std::string directory;   ///< where it is installed
  std::uint16_t port = 0;  ///< of the guest's loopback, which leads to the gateway
  std::string task_id;
  std::string client_secret;
  std::string server_secret;
  std::map<std::string, std::string> environment;
};

/// A script that starts it, and leaves its pid behind.
std::string reference_start_script(const ReferenceStart& start);
/// Ends with status 0 when the agent does, with another if it was never started.
std::string reference_watch_command(const std::string& directory);
std::string reference_interrupt_command(const std::string& directory);

}  // namespace cirrus::isolation
