// SPDX-License-Identifier: MIT
// SshSession: one connection to an SSH server, over libssh.
//
// Call order: connect; then run, upload and open in any order. One thread at a time.
// Errors: Unavailable if the server cannot be reached or the connection broke, Unauthenticated for
// a refused login, PermissionDenied for another host key than the pinned one, DeadlineExceeded,
// Cancelled.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "base/stop.h"

namespace cirrus::net {

struct SshTarget {
  std::string host;
  std::uint16_t port = 22;
  std::string user;
  std::string password;
  /// A private key's file; tried before the password. Empty: none.
  std::string key_file;
  /// `SHA256:...`, as host_key() gave it at first contact; empty: whoever answers.
  std::string host_key;
};

/// How a command ended.
struct SshCommandEnd {
  int exit_code = 0;   ///< -1: by a signal or with the connection
  std::string output;  ///< both outputs, at most 64 KiB of them
};

/// A command's standard input and output as bytes. Belongs to its session's thread.
class SshStream {
 public:
  virtual ~SshStream() = default;
  /// Reads until `text` has passed, which is thrown away with what came before. Errors:
  /// FailedPrecondition with what the command said if it ends before.
  virtual Status expect(std::string_view text, const StopToken& stop, Monotonic deadline) = 0;
  virtual Status write(std::string_view bytes) = 0;
  /// Passes bytes between the command and `fd`, a stream socket, until either ends, the connection
  /// breaks or a stop. The exit code of the command if it has ended.
  virtual Result<std::optional<int>> relay(int fd, const StopToken& stop) = 0;
};

class SshSession {
 public:
  /// Connects and logs in; tries for as long as the deadline allows, because a machine that boots
  /// refuses at first. A refused login is final only if it is refused for five seconds: guests
  /// listen before their accounts are ready.
  static Result<std::unique_ptr<SshSession>> connect(const SshTarget& target, const StopToken& stop,
                                                     Monotonic deadline);
  virtual ~SshSession() = default;

  /// What to pin from here on.
  virtual const std::string& host_key() const = 0;
  /// Runs a line of shell and waits for its end; `input` goes to it. `deadline` ends the wait, and
  /// the command with its connection.
  virtual Result<SshCommandEnd> run(const std::string& command, std::string_view input,
                                    const StopToken& stop, Monotonic deadline) = 0;
  /// Writes a file of this mode under another name and renames it into place. By SFTP, else by a
  /// shell. Errors: ResourceExhausted for a full disk; else what the server said.
  virtual Status upload(std::string_view content, const std::string& path, unsigned mode,
                        const StopToken& stop, Monotonic deadline) = 0;
  /// Starts a command whose input and output are the caller's.
  virtual Result<std::unique_ptr<SshStream>> open(const std::string& command) = 0;
  /// Has the server listen on this port of its own loopback; 0: on one that it picks. Returns the
  /// port. Errors: FailedPrecondition if it does not allow that, or the port is taken.
  virtual Result<std::uint16_t> listen(std::uint16_t port) = 0;
  /// Runs `command`, and passes what connects to the port that is listened on to the unix socket
  /// `target`, until the command ends, the connection breaks or a stop. The command's exit code;
  /// absent: by a signal.
  virtual Result<std::optional<int>> forward(const std::string& command,
                                             const std::filesystem::path& target,
                                             const StopToken& stop) = 0;
};

/// A word for a POSIX shell, whatever is in it.
std::string shell_quoted(std::string_view word);

}  // namespace cirrus::net
