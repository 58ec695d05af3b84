// SPDX-License-Identifier: MIT
// Shells: people inside a running task, each with a terminal. Source: reference agent, terminal.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <list>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"
#include "base/stop.h"
#include "os/process.h"
#include "rpc/shell_hub.h"

namespace cirrus::agent {

/// Listens for orders once the task has run for a moment, so that short tasks do not pay for it.
/// Threads: one that listens, and two for each shell.
class Shells {
 public:
  /// Ours: before this nobody is in time to look.
  static constexpr std::chrono::milliseconds kFirstListen{500};

  /// `link` must outlive this; null: nobody can come.
  explicit Shells(rpc::ShellLink* link) : link_(link) {}
  ~Shells();
  Shells(const Shells&) = delete;
  Shells& operator=(const Shells&) = delete;

  /// What a shell is started with, from here on. Starts listening, at the first call `after`.
  void begin(os::Environment environment, std::filesystem::path working_directory,
             std::chrono::milliseconds after = kFirstListen);
  /// Ends every shell and takes no more.
  void end();

  /// For an instruction that waits for people.
  struct Activity {
    std::uint64_t opened = 0;             ///< shells so far
    std::uint64_t open = 0;               ///< now
    std::optional<Monotonic> last_input;  ///< bytes typed or printed, or a new size
  };
  Activity activity() const;
  /// The shells' processes, each the leader of its session: not the steps' to end or to reap.
  std::vector<pid_t> roots() const;
  bool reachable() const { return link_ != nullptr; }

 private:
  struct State {
    os::Environment environment;
    std::filesystem::path working_directory;
    Activity activity;
    std::set<pid_t> roots;
    std::list<Thread> threads;
    bool ended = false;
  };
  void listen(const StopToken& stop, std::chrono::milliseconds after);
  void serve(const rpc::ShellOrder& order, const StopToken& stop);
  void note_activity();

  rpc::ShellLink* const link_;
  Guarded<State> state_;
  Thread listening_;
};

/// bash if there is one, else /bin/sh; zsh first on macOS. Source: reference agent.
std::string interactive_shell(const os::Environment& environment);

}  // namespace cirrus::agent
