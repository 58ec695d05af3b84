// SPDX-License-Identifier: MIT
// The instructions a step may hold, except for clone.
#include <fcntl.h>

#include <charconv>
#include <utility>

#include "agent/shell.h"
#include "agent/task_run.h"
#include "base/ids.h"
#include "base/strings.h"
#include "os/files.h"

namespace cirrus::agent {

StepOutcome TaskRun::run_script(Step& step, const std::vector<std::string>& lines) {
  if (environment_->get("CIRRUS_SHELL") == "direct") return run_direct(step, lines);
  std::filesystem::path file;
  const Result<std::vector<std::string>> argv = script_command(lines, file);
  if (!argv.ok()) {
    step.log.write("Cannot run the script: " + argv.error().to_string() + "\n");
    return {};
  }
  const StepOutcome outcome = run_process(step, argv.value(), step_environment(step));
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  return outcome;
}

// Ours: every line is a command of its own; the reference runs the first and forgets the rest.
StepOutcome TaskRun::run_direct(Step& step, const std::vector<std::string>& lines) {
  StepOutcome outcome{.succeeded = true};
  for (const std::string& line : lines) {
    const Result<std::vector<std::string>> words = split_words(environment_->expand_text(line));
    if (!words.ok()) {
      step.log.write("Cannot run '" + line + "': " + words.error().to_string() + "\n");
      return {};
    }
    if (words.value().empty()) continue;
    outcome = run_process(step, words.value(), step_environment(step));
    if (!outcome.succeeded) return outcome;
  }
  return outcome;
}

StepOutcome TaskRun::start_background(Step& step, const std::vector<std::string>& lines) {
  std::filesystem::path file;
  Result<std::vector<std::string>> argv =
      environment_->get("CIRRUS_SHELL") == "direct"
          ? split_words(environment_->expand_text(lines.empty() ? "" : lines.front()))
          : script_command(lines, file);
  if (!argv.ok()) {
    step.log.write("Cannot run the script: " + argv.error().to_string() + "\n");
    return {};
  }
  Result<LiveScript> script =
      runner_.start(job(step, std::move(argv).value(), step_environment(step)), step.log);
  started();
  if (!script.ok()) {
    step.log.write(script.error().to_string() + "\n");
    return {};
  }
  background_.push_back({std::move(script).value(), &step.log});
  return {.succeeded = true};
}

StepOutcome TaskRun::write_file_instruction(Step& step) {
  const wire::FileInstruction& instruction = step.command.file_instruction();
  std::string contents = instruction.from_contents();
  if (instruction.source_case() == wire::FileInstruction::kFromEnvironmentVariable) {
    const std::string& name = instruction.from_environment_variable();
    const std::optional<std::string> value = environment_->get(name);
    if (!value || value->starts_with("ENCRYPTED")) {
      step.log.write("The variable " + name +
                     (value ? " is encrypted and was not decrypted for this task" : " is not set") +
                     "; no file is made.\n");
      return {.succeeded = true};
    }
    contents = *value;
  }
  std::filesystem::path path = environment_->expand_text(instruction.destination_path());
  if (path.is_relative()) path = working_directory_ / path;
  Status written = os::make_directories(path.parent_path(), 0755);
  if (written.ok()) {
    Result<os::Fd> file = os::open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    written = file.ok() ? os::write_all(file.value().get(), contents) : Status(file.error());
  }
  if (!written.ok()) {
    step.log.write("Cannot write the file '" + path.string() + "': " + written.error().to_string() +
                   "\n");
    return {};
  }
  step.log.write("Wrote " + std::to_string(contents.size()) + " bytes to " + path.string() + "\n");
  return {.succeeded = true};
}

StepOutcome TaskRun::run_process(Step& step, std::vector<std::string> argv,
                                 os::Environment environment) {
  // A script before may have removed it.
  (void)os::make_directories(working_directory_, 0755);
  Result<LiveScript> script =
      runner_.start(job(step, std::move(argv), std::move(environment)), step.log);
  started();
  if (!script.ok()) {
    step.log.write(script.error().to_string() + "\n");
    return {};
  }
  const ScriptOutcome outcome =
      runner_.finish(std::move(script).value(), step.limits, step.log, background_trees());
  return {
      .succeeded = outcome.succeeded, .signaled = outcome.signaled, .cut_short = outcome.cut_short};
}

Result<std::vector<std::string>> TaskRun::script_command(const std::vector<std::string>& lines,
                                                         std::filesystem::path& file) {
  const std::string chosen = environment_->get("CIRRUS_SHELL").value_or(std::string());
  const std::string shell = trim(chosen).empty() ? shell_ : chosen;
  std::vector<std::string> argv =
      CIRRUS_TRY(split_words(shell).note("reading CIRRUS_SHELL '{}'", shell));
  file = scratch_->path() / ("scripts" + random_hex(16) + ".sh");
  const os::Fd script = CIRRUS_TRY(os::open_file(file, O_WRONLY | O_CREAT | O_EXCL, 0700));
  CIRRUS_TRY(os::write_all(script.get(), script_text(shell, lines)));
  argv.push_back(file.string());
  return argv;
}

ScriptJob TaskRun::job(const Step& step, std::vector<std::string> argv,
                       os::Environment environment) {
  return {std::move(argv), std::move(environment), working_directory_, step.env_file};
}

os::Environment TaskRun::step_environment(const Step& step) const {
  os::Environment environment = environment_->for_process();
  environment["CIRRUS_ENV"] = step.env_file;
  return environment;
}

// Source: reference agent, terminal: the wait ends well when nobody came before the task's end, and
// when everybody has been idle for the window. Ours: what a shell prints is activity too.
StepOutcome TaskRun::wait_for_terminal(Step& step) {
  started();
  if (!shells_.reachable()) {
    step.log.write("Nobody can open a shell here: the worker has no way to it.\n");
    return {};
  }
  std::chrono::seconds window{900};
  const std::string given = environment_->get("CIRRUS_TERMINAL_EXPIRATION_WINDOW").value_or("");
  std::int64_t seconds = 0;
  if (std::from_chars(given.data(), given.data() + given.size(), seconds).ec == std::errc() &&
      seconds > 0) {
    window = std::chrono::seconds(std::min<std::int64_t>(seconds, 86'400));
  }
  step.log.write("Waiting for somebody to open a shell: cirrus task shell " +
                 parts_.bootstrap.task_id() + "\n");
  bool said = false;
  for (;;) {
    const Shells::Activity activity = shells_.activity();
    if (activity.opened > 0) {
      if (!std::exchange(said, true)) {
        step.log.write(
            fmt::format("A shell was opened. The wait ends {} s after the last sign of "
                        "life in it.\n",
                        window.count()));
      }
      if (std::chrono::steady_clock::now() - activity.last_input.value_or(Monotonic()) > window) {
        step.log.write("Nothing happened there for a while; going on.\n");
        return {.succeeded = true};
      }
    }
    if (parts_.control.pause(std::chrono::milliseconds(200), step.limits.deadline)) continue;
    if (parts_.control.cancelled()) return cut_short(step);
    step.log.write(activity.opened == 0 ? "Nobody came.\n" : "\n" + step.limits.deadline_text);
    return {.succeeded = activity.opened == 0, .signaled = false, .cut_short = true};
  }
}

std::vector<StepTree> TaskRun::background_trees() const {
  std::vector<StepTree> trees;
  for (const Background& one : background_) trees.push_back(one.script.tree);
  for (const pid_t root : shells_.roots()) trees.push_back({root, ""});
  return trees;
}

}  // namespace cirrus::agent
