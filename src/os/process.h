// SPDX-License-Identifier: MIT
// Process: one child, its session and its end.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/stop.h"
#include "os/fd.h"

namespace cirrus::os {

/// Environment as a map; converted to `KEY=value` at the spawn.
using Environment = std::map<std::string, std::string, std::less<>>;
/// This process' own environment.
Environment current_environment();

/// How a process ended: exactly one of both is set.
struct ExitStatus {
  std::optional<int> code;
  std::optional<int> signal;

  bool success() const { return code == 0; }
  /// `exit status 3` or `killed by signal 9 (Killed)`.
  std::string describe() const;
};

struct SpawnOptions {
  /// argv[0] is looked up on PATH unless it has a slash.
  std::vector<std::string> argv;
  /// The whole environment of the child; absent: ours.
  std::optional<Environment> environment;
  /// Absent: ours.
  std::optional<std::filesystem::path> working_directory;
  /// Child descriptor number -> descriptor of ours. 0, 1 and 2 are /dev/null unless named here.
  std::map<int, int> descriptors;
  /// Own session, so also own process group and no terminal.
  bool new_session = true;
  /// Device that becomes descriptors 0, 1 and 2 and the controlling terminal of the new session.
  std::optional<std::filesystem::path> terminal = std::nullopt;
  /// Descriptors 0, 1, 2 are inherited where `descriptors` does not say otherwise.
  bool inherit_stdio = false;
  /// Between SIGTERM and SIGKILL when the owner lets go of a live process.
  std::chrono::milliseconds kill_grace{500};
};

/// A child of ours, started by posix_spawn (never fork: a process with RPC threads cannot).
/// Signal mask and dispositions are reset in the child. Move-only; the destructor terminates the
/// process group, waits the grace, kills and reaps.
class Process {
 public:
  /// Errors: NotFound if the program or working directory does not exist, PermissionDenied,
  /// ResourceExhausted.
  static Result<Process> spawn(const SpawnOptions& options);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  /// Readable once the process has ended; -1 after it was reaped.
  int pidfd() const { return pidfd_.get(); }
  bool reaped() const { return exit_.has_value(); }

  /// Reaps if it has ended. nullopt: still running.
  std::optional<ExitStatus> try_wait();
  /// Waits for the end. Errors: Cancelled on stop, DeadlineExceeded at the deadline.
  Result<ExitStatus> wait(const StopToken& stop, std::optional<Monotonic> deadline);

  /// Sends to the process alone, or to its group. A process that has ended is no error.
  void send_signal(int number) const;
  void send_signal_to_group(int number) const;

  /// TERM to the group, `grace`, KILL to the group, reap. Returns how it ended.
  ExitStatus terminate(std::chrono::milliseconds grace);
  /// Lets the process live on, unwatched: for agents, which outlive their worker. It must be
  /// reaped by its next parent.
  void release();

 private:
  Process(pid_t pid, Fd pidfd, std::chrono::milliseconds grace, bool own_group)
      : pid_(pid), pidfd_(std::move(pidfd)), grace_(grace), own_group_(own_group) {}
  void end_now();

  pid_t pid_ = -1;
  Fd pidfd_;
  std::chrono::milliseconds grace_{0};
  bool own_group_ = false;
  std::optional<ExitStatus> exit_;
};

/// What a short command printed.
struct CommandOutput {
  ExitStatus status;
  std::string output;
  std::string errors;
};
/// Runs a command to its end and collects at most `limit` bytes of each stream (the rest is
/// discarded). `input` is fed on descriptor 0. Errors: as spawn, DeadlineExceeded, Cancelled.
Result<CommandOutput> run_command(SpawnOptions options, std::string_view input,
                                  const StopToken& stop, Monotonic deadline,
                                  std::size_t limit = 16U << 20U);

}  // namespace cirrus::os
