// SPDX-License-Identifier: MIT
#include "agent/task_run.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "agent/env_file.h"
#include "agent/ports.h"
#include "agent/shell.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/utf8.h"
#include "os/files.h"

namespace cirrus::agent {
namespace {

// Source: reference agent. Ours: counted from the end of the task's time, so that an early
// `always` block does not use it up.
constexpr std::chrono::minutes kExtension{5};
constexpr std::chrono::seconds kSweepPatience{5};
// Ours: keeps arithmetic on deadlines within its type.
constexpr std::chrono::seconds kLongestTask = std::chrono::hours(24 * 365);
constexpr std::size_t kMaxEnvFile = 16U << 20U;

Monotonic now() {
  return std::chrono::steady_clock::now();
}

}  // namespace

TaskRun::TaskRun(TaskParts parts)
    : parts_(std::move(parts)),
      runner_(parts_.pump, parts_.control),
      caches_(parts_.blobs, archive::UnpackLimits()),
      shells_(parts_.shells) {}

TaskRun::~TaskRun() = default;

void TaskRun::run() {
  if (const Status prepared = prepare(); !prepared.ok()) {
    report_error(prepared.error().to_string());
    parts_.on_started();
    return;
  }
  const std::vector<const wire::Command*> commands = selected_commands();
  for (const wire::Command* command : commands) {
    run_step(*command);
    if (left_) break;
  }
  started();
  // Neither an empty list nor an exit instruction is followed by a report. Source: reference agent.
  if (commands.empty() || left_) {
    shells_.end();
    background_.clear();
    kill_all_descendants(now() + kSweepPatience);
    return;
  }
  finish();
}

Status TaskRun::prepare() {
  const auto& commands = parts_.bootstrap.commands();
  // First of all, so that no reason for a failure shows one.
  for (const std::string& value : commands.secrets_to_mask()) secrets_.add(value);
  process_ = process_environment(parts_.inherited, parts_.bootstrap);
  std::vector<std::string> unboxed;
  environment_ = std::make_unique<TaskEnvironment>(
      CIRRUS_TRY(task_environment(process_, parts_.bootstrap, parts_.vault, unboxed)));
  for (const std::string& value : unboxed) secrets_.add(value);
  secrets_.add_named(environment_->variables());
  scratch_ =
      std::make_unique<Scratch>(CIRRUS_TRY(Scratch::open(parts_.bootstrap.scratch_directory())));
  working_directory_ = environment_->get("CIRRUS_WORKING_DIR").value_or("");
  CIRRUS_TRY(os::make_directories(working_directory_, 0755)
                 .note("making the working directory '{}'", working_directory_.string()));
  shell_ = default_shell(environment_->process_value("PATH").value_or(""));
  failed_ = commands.failed_at_least_once();
  deadline_ = now() + std::chrono::seconds(std::clamp<std::int64_t>(commands.timeout_in_seconds(),
                                                                    0, kLongestTask.count()));
  const std::vector<std::uint16_t> ports =
      parse_ports(environment_->process_value("CIRRUS_PORTS_WAIT_FOR").value_or(""));
  for (const std::uint16_t port : wait_for_ports(ports, kPortPatience, parts_.control)) {
    log_warning("nothing listens", {{"port", port}});
  }
  open_http_cache();
  return {};
}

// Source: reference agent: an address given from outside counts, the process environment's first;
// else there is a cache of the task's own.
void TaskRun::open_http_cache() {
  constexpr const char* kHost = "CIRRUS_HTTP_CACHE_HOST";
  if (const auto given = environment_->process_value(kHost)) {
    environment_->merge({{kHost, *given}});
    return;
  }
  if (environment_->has(kHost)) return;
  HttpCache::Options options{.spool_directory = scratch_->path()};
  if (parts_.bootstrap.shares_machine()) options.only_uid = ::geteuid();
  Result<std::unique_ptr<HttpCache>> cache = HttpCache::listen(std::move(options), parts_.blobs);
  if (!cache.ok()) {
    report_warning("the task has no HTTP cache: " + cache.error().to_string());
    return;
  }
  http_cache_ = std::move(cache).value();
  const std::string host = http_cache_->host();
  Variables variables{{kHost, host}, {"OMNI_CACHE_ADDRESS", host}};
  // Ours: what clients of the GitHub-style routes read.
  for (const auto& [name, value] :
       {std::pair<std::string, std::string>{"ACTIONS_CACHE_URL", "http://" + host + "/"},
        {"ACTIONS_RUNTIME_TOKEN", http_cache_->token().reveal()}}) {
    if (!environment_->has(name) && !environment_->process_value(name)) variables[name] = value;
  }
  environment_->merge(variables);
  secrets_.add(http_cache_->token().reveal());
}

std::vector<const wire::Command*> TaskRun::selected_commands() const {
  const auto& commands = parts_.bootstrap.commands().commands();
  const auto index_of = [&commands](const std::string& name, int otherwise) {
    if (name.empty()) return otherwise;
    const auto found = std::find_if(commands.begin(), commands.end(),
                                    [&name](const auto& c) { return c.name() == name; });
    return found == commands.end() ? otherwise : static_cast<int>(found - commands.begin());
  };
  const int from = index_of(parts_.bootstrap.command_from(), 0);
  const int to = index_of(parts_.bootstrap.command_to(), commands.size());
  std::vector<const wire::Command*> selected;
  for (int at = from; at < to; ++at) selected.push_back(&commands.Get(at));
  return selected;
}

bool TaskRun::time_is_up() const {
  return now() >= deadline_;
}

bool TaskRun::should_run(const wire::Command& command) const {
  if (command.has_upload_cache_instruction() &&
      caches_.saved_always(command.upload_cache_instruction().cache_name())) {
    return true;
  }
  switch (command.execution_behaviour()) {
    case wire::Command::ON_SUCCESS: return !failed_ && !parts_.control.cancelled();
    // Ours: a stop order is no failure, so nothing that reacts to failures runs after it.
    case wire::Command::ON_FAILURE: return failed_ && !parts_.control.cancelled();
    case wire::Command::ON_TIMEOUT: return time_is_up();
    case wire::Command::ALWAYS: return true;
    default: return false;
  }
}

ScriptLimits TaskRun::limits_for(const wire::Command& command) const {
  ScriptLimits limits;
  limits.deadline = deadline_;
  limits.kill_grace = std::chrono::milliseconds(parts_.bootstrap.kill_grace_milliseconds());
  limits.give_up = deadline_ + parts_.gateway_patience;
  limits.escaping = environment_->has("CIRRUS_ESCAPING_PROCESSES");
  const bool always = command.has_upload_cache_instruction() &&
                      caches_.saved_always(command.upload_cache_instruction().cache_name());
  if (command.execution_behaviour() == wire::Command::ON_SUCCESS && !always) return limits;
  limits.deadline = deadline_ + kExtension;
  if (command.execution_behaviour() == wire::Command::ON_FAILURE) return limits;
  limits.extension_after_cancel = kExtension;
  limits.deadline_text = "Context canceled!";
  return limits;
}

void TaskRun::run_step(const wire::Command& command) {
  if (!should_run(command)) {
    report(command.name(), wire::SKIPPED, {}, false, nullptr);
    return;
  }
  report(command.name(), wire::EXECUTING, {}, false, nullptr);
  if (command.has_exit_instruction()) {
    left_ = true;
    return;
  }
  const Monotonic begun = now();
  Step step{command, open_log(command.name()),
            (scratch_->path() / ("cirrus-env-" + random_hex(16))).string(), limits_for(command)};
  StepOutcome outcome;
  if (const Result<os::Fd> made = os::open_file(step.env_file, O_WRONLY | O_CREAT | O_EXCL, 0600);
      made.ok()) {
    outcome = run_instruction(step);
    take_env_file(step);
  } else {
    step.log.write("Cannot make the file for CIRRUS_ENV: " + made.error().to_string() + "\n");
  }
  const bool is_background = command.has_background_script_instruction() && outcome.succeeded;
  if (!is_background) step.log.flush();
  if (!outcome.succeeded) failed_ = true;
  report(command.name(), outcome.succeeded ? wire::COMPLETED : wire::FAILED, now() - begun,
         outcome.signaled, is_background ? nullptr : &step.log);
}

StepOutcome TaskRun::run_instruction(Step& step) {
  const wire::Command& command = step.command;
  switch (command.instruction_case()) {
    case wire::Command::kScriptInstruction: {
      const auto& lines = command.script_instruction().scripts();
      return run_script(step, {lines.begin(), lines.end()});
    }
    case wire::Command::kBackgroundScriptInstruction: {
      const auto& lines = command.background_script_instruction().scripts();
      return start_background(step, {lines.begin(), lines.end()});
    }
    case wire::Command::kFileInstruction: return write_file_instruction(step);
    case wire::Command::kCloneInstruction: return clone(step);
    case wire::Command::kCacheInstruction: return restore_cache(step);
    case wire::Command::kUploadCacheInstruction: return upload_cache(step);
    case wire::Command::kArtifactsInstruction: return store_artifacts(step);
    case wire::Command::kWaitForTerminalInstruction: return wait_for_terminal(step);
    default:
      step.log.write("This agent does not know the instruction of step '" + command.name() +
                     "'.\n");
      return {};
  }
}

StepLog& TaskRun::open_log(const std::string& step) {
  const bool first = logs_.empty();
  logs_.emplace_back(step, parts_.outbox, secrets_.patterns(),
                     environment_->is_true("CIRRUS_LOG_TIMESTAMP")
                         ? std::make_unique<TimeStamps>(parts_.clock)
                         : nullptr);
  if (first && secrets_.has_short_ones()) {
    logs_.back().write(
        fmt::format("Secrets of less than {} bytes are not hidden in logs; this task has some.\n",
                    model::kShortestSecret));
  }
  return logs_.back();
}

void TaskRun::take_env_file(Step& step) {
  const Result<std::string> text = os::read_file(step.env_file, kMaxEnvFile);
  std::error_code ignored;
  std::filesystem::remove(step.env_file, ignored);
  // What a background script had time to write is chance. Source: reference agent: it can hand on
  // no variables.
  if (step.command.has_background_script_instruction()) return;
  if (!text.ok()) {
    // A script may well remove it; that it is too large must be said.
    if (text.error().code() != Code::NotFound) {
      step.log.write("\nCIRRUS_ENV is not used: " + text.error().to_string() + "\n");
    }
    return;
  }
  if (text.value().empty()) return;
  const EnvFile file = parse_env_file(text.value());
  for (const std::string& problem : file.problems) step.log.write("\n" + problem + "\n");
  const bool sensitive = environment_->has("CIRRUS_ENV_SENSITIVE");
  environment_->merge(file.variables);
  bool grew = secrets_.add_named(environment_->variables());
  if (sensitive) {
    for (const auto& [name, value] : file.variables) {
      grew = secrets_.add(value) || grew;
      grew = secrets_.add(environment_->get(name).value_or("")) || grew;
    }
  }
  if (grew) use_new_secrets();
}

void TaskRun::use_new_secrets() {
  for (StepLog& log : logs_) log.replace_patterns(secrets_.patterns());
}

void TaskRun::report(const std::string& step, wire::Status status, Duration took, bool signaled,
                     const StepLog* log) {
  wire::CommandResult result;
  result.set_name(step);
  result.set_status(status);
  result.set_succeded(status == wire::COMPLETED);
  result.set_duration_in_nanos(took.count());
  result.set_signaled_to_exit(signaled);
  history_.push_back(result);
  gateway::v1::AgentMessage::Event event;
  if (log != nullptr) *event.add_after() = log->position();
  *event.mutable_updates()->add_updates() = std::move(result);
  parts_.outbox.post(std::move(event));
}

std::string TaskRun::as_shown(std::string_view text) {
  return as_utf8(model::mask(secrets_.patterns(), text));
}

void TaskRun::report_error(const std::string& message) {
  const std::string shown = as_shown(message);
  log_error("the task cannot run", {{"reason", shown}});
  gateway::v1::AgentMessage::Event event;
  event.mutable_error()->set_message(shown);
  parts_.outbox.post(std::move(event));
}

void TaskRun::report_warning(const std::string& message) {
  const std::string shown = as_shown(message);
  log_warning("something is amiss", {{"what", shown}});
  gateway::v1::AgentMessage::Event event;
  event.mutable_warning()->set_message(shown);
  parts_.outbox.post(std::move(event));
}

void TaskRun::started() {
  if (std::exchange(started_, true)) return;
  parts_.on_started();
  monitor_ = std::make_unique<ResourceMonitor>(parts_.bootstrap.shares_machine()
                                                   ? os::UsageMeter::of_descendants()
                                                   : os::UsageMeter::of_surroundings());
  // Somebody is waited for, or the task may turn out to be worth a look.
  const auto& commands = parts_.bootstrap.commands().commands();
  const bool awaited = std::any_of(commands.begin(), commands.end(), [](const auto& command) {
    return command.has_wait_for_terminal_instruction();
  });
  shells_.begin(environment_->for_process(), working_directory_,
                awaited ? std::chrono::milliseconds(0) : Shells::kFirstListen);
  if (!http_cache_) return;
  if (const Status serving = http_cache_->start(); !serving.ok()) {
    report_warning("the task has no HTTP cache: " + serving.error().to_string());
  }
}

void TaskRun::finish() {
  for (Background& one : background_) {
    // In the order they were started. A process that ends by our kill leaves no line.
    const StepTree tree = one.script.tree;
    one.script.process.send_signal_to_group(SIGKILL);
    (void)one.script.process.terminate(std::chrono::milliseconds(0));
    std::vector<StepTree> others = background_trees();
    std::erase_if(others, [&tree](const StepTree& other) { return other.root == tree.root; });
    kill_tree(tree, others, now() + kSweepPatience);
  }
  shells_.end();
  const wire::ResourceUtilization used = monitor_->charts();
  kill_all_descendants(now() + kSweepPatience);
  http_cache_.reset();
  if (const std::string problem = monitor_->problem(); !problem.empty()) report_warning(problem);
  gateway::v1::AgentMessage::Event event;
  *event.mutable_finished()->mutable_resource_utilization() = used;
  for (Background& one : background_) {
    if (!one.script.output->wait_closed(std::chrono::seconds(2),
                                        deadline_ + parts_.gateway_patience))
      one.script.output->finish_now();
    one.log->flush();
  }
  for (const StepLog& log : logs_) *event.add_after() = log.position();
  for (const wire::CommandResult& result : history_) {
    *event.mutable_finished()->add_command_results() = result;
  }
  auto& attempts = *event.mutable_finished()->mutable_cacheretrievalattempts();
  for (const auto& [key, attempt] : caches_.attempts()) {
    attempts[key] = attempt;
    if (!attempt.error().empty()) attempts[key].set_error(as_shown(attempt.error()));
  }
  parts_.outbox.post(std::move(event));
  background_.clear();
}

}  // namespace cirrus::agent
