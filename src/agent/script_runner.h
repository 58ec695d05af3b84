// SPDX-License-Identifier: MIT
// Runs one process of a step to its end, or starts it and leaves it in the background.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/log_pump.h"
#include "agent/process_tree.h"
#include "agent/step_log.h"
#include "agent/task_control.h"
#include "os/memory_events.h"
#include "os/process.h"

namespace cirrus::agent {

/// What to run.
struct ScriptJob {
  std::vector<std::string> argv;
  os::Environment environment;
  std::filesystem::path working_directory;
  std::string mark;  ///< the step's CIRRUS_ENV
};

/// A process that runs, the pump reading its output.
struct LiveScript {
  os::Process process;
  StepTree tree;
  std::shared_ptr<LogPump::Source> output;
  os::Fd output_witness;  ///< a second read end: finds out who still holds the pipe
};

struct ScriptOutcome {
  bool succeeded = false;
  bool signaled = false;
  bool cut_short = false;  ///< by the deadline or a stop order
};

/// When and how a foreground script is ended.
struct ScriptLimits {
  Monotonic deadline;
  /// Absent: a stop order ends the script. Set: it only shortens its time to this.
  std::optional<std::chrono::nanoseconds> extension_after_cancel;
  /// When a gateway that makes no room for the log is given up.
  Monotonic give_up = Monotonic::max();
  bool escaping = false;  ///< CIRRUS_ESCAPING_PROCESSES: children may outlive the shell
  std::chrono::milliseconds kill_grace{0};
  /// Written when the deadline passes. Source: reference agent.
  std::string deadline_text = "Timed out!";
};

/// Main thread only.
class ScriptRunner {
 public:
  ScriptRunner(LogPump& pump, TaskControl& control) : pump_(pump), control_(control) {}

  /// Starts a process in a session of its own, with one pipe for both outputs.
  Result<LiveScript> start(const ScriptJob& job, StepLog& log);
  /// Waits for the end and leaves nothing behind: the log has every byte and a line that says how
  /// it ended. `background` are the live scripts of other steps.
  ScriptOutcome finish(LiveScript script, const ScriptLimits& limits, StepLog& log,
                       const std::vector<StepTree>& background);

 private:
  void stop_tree(LiveScript& script, std::chrono::milliseconds grace,
                 const std::vector<StepTree>& background);
  os::ExitStatus take_status(LiveScript& script, bool escaping,
                             const std::vector<StepTree>& background);
  void drain(LiveScript& script, const ScriptLimits& limits, bool escaping, StepLog& log);

  LogPump& pump_;
  TaskControl& control_;
  bool watches_memory_ = false;
  std::optional<os::MemoryEvents> memory_;
  std::uint64_t kills_ = 0;  // for want of memory, up to the end of the last script
};

/// `killed`, `terminated`, `segmentation fault`: the words the reference's logs use for a signal.
std::string signal_words(int number);

}  // namespace cirrus::agent
