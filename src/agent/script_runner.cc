// SPDX-License-Identifier: MIT
#include "agent/script_runner.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <utility>

#include "agent/bootstrap.h"
#include "base/strings.h"
#include "os/process_table.h"

namespace cirrus::agent {
namespace {

// Ours: how long the output may stay open after everything that can be killed is dead.
constexpr std::chrono::seconds kDrainPatience{2};
// Ours: a process that does not die of SIGKILL hangs in the kernel; the step does not wait for it.
constexpr std::chrono::seconds kKillPatience{5};

Monotonic after(std::chrono::nanoseconds span) {
  return std::chrono::steady_clock::now() + span;
}

std::vector<pid_t> roots(const LiveScript& script, const std::vector<StepTree>& background) {
  std::vector<pid_t> pids{script.tree.root};
  for (const StepTree& tree : background) pids.push_back(tree.root);
  return pids;
}

}  // namespace

std::string signal_words(int number) {
  // Where Go's words are not the C library's in lower case. Source: reference agent.
  if (number == SIGABRT) return "aborted";
  if (number == SIGTRAP) return "trace/breakpoint trap";
  const char* description = ::sigdescr_np(number);
  return description != nullptr ? to_lower(description) : "signal " + std::to_string(number);
}

Result<LiveScript> ScriptRunner::start(const ScriptJob& job, StepLog& log) {
  os::Pipe pipe = CIRRUS_TRY(os::make_pipe());
  const os::Fd input = CIRRUS_TRY(open_empty_input());
  os::SpawnOptions options;
  options.argv = job.argv;
  options.environment = job.environment;
  options.working_directory = job.working_directory;
  options.descriptors = {{0, input.get()}, {1, pipe.write_end.get()}, {2, pipe.write_end.get()}};
  options.kill_grace = std::chrono::milliseconds(0);
  os::Process process = CIRRUS_TRY(os::Process::spawn(options));
  pipe.write_end.reset();
  os::Fd witness(::fcntl(pipe.read_end.get(), F_DUPFD_CLOEXEC, 3));
  // After the spawn: the script need not wait for it, and cannot be out of memory yet.
  if (!std::exchange(watches_memory_, true)) {
    memory_ = os::MemoryEvents::of(::getpid());
    if (memory_) kills_ = memory_->kills().value_or(0);
  }
  const StepTree tree{process.pid(), job.mark};
  return LiveScript{std::move(process), tree, pump_.add(std::move(pipe.read_end), log),
                    std::move(witness)};
}

ScriptOutcome ScriptRunner::finish(LiveScript script, const ScriptLimits& limits, StepLog& log,
                                   const std::vector<StepTree>& background) {
  ScriptOutcome outcome;
  const std::vector<pid_t> tracked = roots(script, background);
  WaitEnd end = control_.wait(script.process, limits.deadline, true, tracked);
  if (end == WaitEnd::Cancelled && limits.extension_after_cancel) {
    const Monotonic cancelled = control_.cancelled_at().value_or(limits.deadline);
    const Monotonic deadline =
        std::min(limits.deadline, cancelled + *limits.extension_after_cancel);
    end = control_.wait(script.process, deadline, false, tracked);
  }
  if (end != WaitEnd::Exited) {
    outcome.cut_short = true;
    const bool timed_out = end == WaitEnd::DeadlinePassed;
    std::string processes = timed_out ? describe_descendants() : std::string();
    stop_tree(script, timed_out ? std::chrono::milliseconds(0) : limits.kill_grace, background);
    drain(script, limits, false, log);
    if (!processes.empty()) log.write("\nWhat was running:\n    PID    PPID COMMAND\n" + processes);
    log.write(timed_out ? "\n" + limits.deadline_text : "\nContext canceled!");
    return outcome;
  }
  const os::ExitStatus status = take_status(script, limits.escaping, background);
  drain(script, limits, limits.escaping, log);
  outcome.succeeded = status.success();
  outcome.signaled = status.signal.has_value();
  if (status.signal) {
    log.write("\nSignaled to exit (" + signal_words(*status.signal) + ")!");
  } else if (status.code.value_or(0) >= 2) {
    log.write("\nExit status: " + std::to_string(*status.code));
  }
  const std::uint64_t kills = memory_ ? memory_->kills().value_or(kills_) : kills_;
  if (!outcome.succeeded && kills > kills_) {
    const std::optional<std::uint64_t> limit = memory_->limit();
    log.write(
        fmt::format("\nThe kernel killed {} for want of memory{}.",
                    kills - kills_ == 1 ? "a process" : fmt::format("{} processes", kills - kills_),
                    limit ? fmt::format(": the limit is {} MiB", *limit >> 20U) : std::string()));
  }
  kills_ = kills;
  return outcome;
}

void ScriptRunner::stop_tree(LiveScript& script, std::chrono::milliseconds grace,
                             const std::vector<StepTree>& background) {
  const std::vector<pid_t> tracked = roots(script, background);
  if (grace.count() > 0) {
    signal_tree(script.tree, background, SIGTERM);
    (void)control_.wait(script.process, after(grace), false, tracked);
  }
  script.process.send_signal_to_group(SIGKILL);
  (void)control_.wait(script.process, after(kKillPatience), false, tracked);
  (void)script.process.try_wait();
  kill_tree(script.tree, background, after(kKillPatience));
  if (!script.process.reaped()) script.process.release();
}

os::ExitStatus ScriptRunner::take_status(LiveScript& script, bool escaping,
                                         const std::vector<StepTree>& background) {
  // Before the leader is reaped: until then nobody else can have its number.
  if (!escaping) script.process.send_signal_to_group(SIGKILL);
  const os::ExitStatus status = script.process.try_wait().value_or(os::ExitStatus{});
  if (!escaping) kill_session(script.tree, background, after(kKillPatience));
  os::reap_others(roots(script, background));
  return status;
}

void ScriptRunner::drain(LiveScript& script, const ScriptLimits& limits, bool escaping,
                         StepLog& log) {
  if (escaping || !script.output->wait_closed(kDrainPatience, limits.give_up)) {
    std::vector<std::string> holders;
    if (!escaping) {
      for (const pid_t pid : os::holders_of_pipe(script.output_witness.get())) {
        holders.push_back(fmt::format("{} ({})", pid, shorten(os::command_line_of(pid), 100)));
      }
    }
    script.output->finish_now();
    log.flush();
    if (!escaping) {
      log.write(fmt::format(
          "\nThe output is still held open by {}; what is printed from here on is not recorded.",
          holders.empty() ? "a process that cannot be looked at" : join(holders, ", ")));
    }
    return;
  }
  log.flush();
}

}  // namespace cirrus::agent
