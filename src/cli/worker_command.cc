// SPDX-License-Identifier: MIT
// `cirrus worker run|status|validate|doctor|pause|resume`.
#include <signal.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "cli/api_command.h"
#include "cli/command.h"
#include "cli/environment.h"
#include "cli/log_file.h"
#include "cli/otlp.h"
#include "cli/ready_file.h"
#include "cli/service_notify.h"
#include "cli/worker_doctor.h"
#include "cli/worker_metrics.h"
#include "cli/worker_stack.h"
#include "cli/worker_status.h"
#include "os/files.h"
#include "os/host.h"
#include "os/identity.h"
#include "os/signals.h"
#include "os/user.h"
#include "rpc/grpc/upstream_client.h"
#include "worker/settings_reader.h"

namespace cirrus::cli {

namespace {

struct WorkerFlags {
  std::string file;
  std::string name;
  std::string token;
  std::string token_file;
  std::vector<std::string> labels;
  std::vector<std::string> resources;
  std::string endpoint;
  std::string data_directory;
  std::string ready_file;
  std::string metrics_address;
  std::string user;
  bool user_coarse_grained = false;
  std::string exit_after_idle;
  std::string drain_timeout;
  std::uint64_t max_tasks = 0;
  std::uint64_t timeout_seconds = 0;
  std::string output = "text";
  bool ephemeral = false;
  bool wait = false;
};

// The first implicit file that exists. Source: design 5, places.
std::string implicit_file() {
  for (const std::filesystem::path& path : {std::filesystem::path("/etc/cirrus/worker.yml"),
                                            os::user_config_directory() / "worker.yml"}) {
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) return path.string();
  }
  return {};
}

Status read_time(const std::string& flag, const std::string& text,
                 std::optional<std::chrono::milliseconds>& time) {
  if (text.empty()) return {};
  const std::chrono::nanoseconds parsed = CIRRUS_TRY(worker::parse_duration(text).note("{}", flag));
  time = std::chrono::ceil<std::chrono::milliseconds>(parsed);
  return {};
}

Status read_life(const WorkerFlags& given, worker::LifeSettings& life) {
  std::string idle = given.exit_after_idle;
  if (idle.empty()) idle = variable("CIRRUS_WORKER_EXIT_AFTER_IDLE").value_or("");
  std::string drain = given.drain_timeout;
  if (drain.empty()) drain = variable("CIRRUS_WORKER_DRAIN_TIMEOUT").value_or("");
  CIRRUS_TRY(read_time("--exit-after-idle", idle, life.exit_after_idle));
  CIRRUS_TRY(read_time("--drain-timeout", drain, life.drain_timeout));
  life.max_tasks = given.max_tasks;
  if (const auto text = variable("CIRRUS_WORKER_MAX_TASKS"); text && life.max_tasks == 0) {
    const auto parsed = std::from_chars(text->data(), text->data() + text->size(), life.max_tasks);
    if (parsed.ec != std::errc() || parsed.ptr != text->data() + text->size()) {
      return error(Code::InvalidArgument, "CIRRUS_WORKER_MAX_TASKS must be a whole number");
    }
  }
  if (given.ephemeral || variable("CIRRUS_WORKER_EPHEMERAL").value_or("") == "true") {
    life.max_tasks = 1;
  }
  return {};
}

// Later wins: built-in, implicit file, environment, flags, a file named with -f.
Result<worker::Settings> read_settings(const WorkerFlags& given) {
  worker::Flags flags;
  std::string file = given.file;
  if (file.empty()) file = variable("CIRRUS_WORKER_FILE").value_or("");
  std::string implicit;
  if (given.token.empty() && given.token_file.empty() && file.empty()) implicit = implicit_file();
  const auto read = [](const std::string& path) {
    return os::read_file(path, 4U << 20U).note("reading the settings file");
  };
  std::optional<worker::Settings> below;
  if (!implicit.empty()) {
    below = CIRRUS_TRY(worker::make_settings({}, CIRRUS_TRY(read(implicit)), implicit,
                                             worker::name_from_host(os::host_name())));
  }
  CIRRUS_TRY(read_life(given, flags.life));
  if (const auto address = variable("CIRRUS_WORKER_METRICS_ADDRESS")) {
    flags.metrics_address = *address;
  }
  if (!given.metrics_address.empty()) flags.metrics_address = given.metrics_address;
  if (const auto name = variable("CIRRUS_WORKER_NAME")) flags.name = *name;
  if (!given.name.empty()) flags.name = given.name;
  flags.token = CIRRUS_TRY(secret_variable("CIRRUS_WORKER_TOKEN"));
  if (!given.token.empty()) flags.token = Secret(given.token);
  if (!given.token_file.empty()) flags.token = CIRRUS_TRY(read_secret_file(given.token_file));
  if (const auto endpoint = variable("CIRRUS_WORKER_RPC_ENDPOINT")) flags.endpoint = *endpoint;
  if (!given.endpoint.empty()) flags.endpoint = given.endpoint;
  const auto listed = [](const char* name) {
    const std::optional<std::string> value = variable(name);
    return value ? std::vector<std::string>{*value} : std::vector<std::string>{};
  };
  flags.labels = CIRRUS_TRY(worker::parse_labels(listed("CIRRUS_WORKER_LABELS")));
  for (auto& [key, value] : CIRRUS_TRY(worker::parse_labels(given.labels))) {
    flags.labels.insert_or_assign(key, value);
  }
  flags.resources = CIRRUS_TRY(worker::parse_resources(listed("CIRRUS_WORKER_RESOURCES")));
  for (const auto& [key, value] : CIRRUS_TRY(worker::parse_resources(given.resources))) {
    flags.resources.insert_or_assign(key, value);
  }
  if (below) {
    // The implicit file lies below the flags: they replace what it says.
    if (flags.name) below->name = *flags.name;
    if (flags.metrics_address) below->metrics_address = *flags.metrics_address;
    if (flags.life.max_tasks > 0) below->life.max_tasks = flags.life.max_tasks;
    if (flags.life.exit_after_idle) below->life.exit_after_idle = flags.life.exit_after_idle;
    if (flags.life.drain_timeout) below->life.drain_timeout = flags.life.drain_timeout;
    for (const auto& [key, value] : flags.labels) below->labels.insert_or_assign(key, value);
    for (const auto& [key, value] : flags.resources) below->resources.insert_or_assign(key, value);
    if (below->upstreams.size() == 1) {
      if (flags.token) below->upstreams.front().token = *flags.token;
      if (flags.endpoint) below->upstreams.front().endpoint = *flags.endpoint;
    }
    return *below;
  }
  const std::string text = file.empty() ? std::string() : CIRRUS_TRY(read(file));
  return worker::make_settings(flags, text, file, worker::name_from_host(os::host_name()));
}

std::filesystem::path data_directory_of(const WorkerFlags& flags,
                                        const worker::Settings& settings) {
  if (!settings.data_directory.empty()) return settings.data_directory;
  if (!flags.data_directory.empty()) return flags.data_directory;
  if (const auto directory = variable("CIRRUS_WORKER_DATA_DIR")) return *directory;
  return os::default_state_directory() / "worker";
}

// A file with a mistake changes nothing.
void reload(worker::Worker& worker, const WorkerFlags& flags) {
  Result<worker::Settings> settings = read_settings(flags);
  if (!settings.ok()) {
    log_error("settings not reloaded", {{"error", settings.error()}});
    return;
  }
  if (const Status opened = open_log(settings.value().log); !opened.ok()) {
    log_error("settings not reloaded", {{"error", opened.error()}});
    return;
  }
  for (const std::string& warning : settings.value().warnings) log_warning(warning);
  const std::vector<std::string> changes = worker.reload(std::move(settings).value());
  if (changes.empty()) log_info("settings reloaded: nothing has changed");
  for (const std::string& change : changes) log_info("settings reloaded", {{"change", change}});
}

// Gives up root's rights for good, before anything is opened, and makes the environment that
// user's. Source: reference worker, --user; there a helper keeps root's rights to open sockets on
// macOS.
Status run_as(const std::string& name) {
  const os::User user = CIRRUS_TRY(os::find_user(name).note("--user"));
  const os::User self = CIRRUS_TRY(os::current_user());
  if (self.uid == user.uid) return {};
  if (self.uid != 0) {
    return error(Code::PermissionDenied,
                 "--user {} needs a worker that is started as root, not as {}", name, self.name);
  }
  CIRRUS_TRY(os::become(user.identity()));
  for (const auto& [key, value] : {std::pair("HOME", user.home),
                                   {"USER", user.name},
                                   {"LOGNAME", user.name},
                                   {"SHELL", user.shell}}) {
    ::setenv(key, value.c_str(), 1);
  }
  for (const char* key : {"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME",
                          "XDG_STATE_HOME", "MAIL"}) {
    ::unsetenv(key);
  }
  return {};
}

int run_worker(const WorkerFlags& flags) {
  std::string user = flags.user;
  if (user.empty()) user = variable("CIRRUS_WORKER_USER").value_or("");
  if (!user.empty()) {
    if (const Status became = run_as(user); !became.ok()) {
      complain(became.error().to_string());
      return kFailed;
    }
  }
  os::block_signals({SIGINT, SIGTERM, SIGHUP, SIGUSR1});
  Result<worker::Settings> settings = read_settings(flags);
  if (!settings.ok()) {
    complain(settings.error().to_string());
    return kFailed;
  }
  if (const Status opened = open_log(settings.value().log); !opened.ok()) {
    complain(opened.error().to_string());
    return kFailed;
  }
  for (const std::string& warning : settings.value().warnings) log_warning(warning);
  settings.value().traces = !otlp_url("traces").empty();
  const std::string name = settings.value().name;
  const std::string metrics_address = settings.value().metrics_address;
  const std::filesystem::path data_directory = data_directory_of(flags, settings.value());
  Result<std::unique_ptr<WorkerStack>> stack =
      WorkerStack::start(std::move(settings).value(), data_directory);
  if (!stack.ok()) {
    complain(stack.error().to_string());
    return kFailed;
  }
  worker::Worker& worker = stack.value()->worker();
  int signals = 0;
  const os::SignalThread signal_thread({SIGINT, SIGTERM, SIGHUP, SIGUSR1}, [&](int number) {
    if (number == SIGUSR1) {
      log_info("detaching: agents go on");
      worker.detach();
      return;
    }
    if (number == SIGHUP) {
      reload(worker, flags);
      return;
    }
    ++signals;
    if (signals == 1) {
      log_info("draining: no new tasks; a second signal cancels", {{"running", worker.running()}});
      worker.drain();
    } else {
      log_info("cancelling all tasks", {{"running", worker.running()}});
      worker.cancel_all();
    }
  });
  Result<std::unique_ptr<WorkerMetrics>> metrics = WorkerMetrics::start(worker, metrics_address);
  if (!metrics.ok()) {
    complain(metrics.error().to_string());
    return kFailed;
  }
  std::map<std::string, std::string> facts{{"name", name}};
  if (metrics.value()->port() != 0) {
    facts["metrics_port"] = std::to_string(metrics.value()->port());
  }
  Result<ReadyFile> ready = ReadyFile::write(flags.ready_file, facts);
  if (!ready.ok()) {
    complain(ready.error().to_string());
    return kFailed;
  }
  const ServiceNotifier notifier([&worker] {
    const worker::WorkerFacts now = worker.facts();
    return fmt::format("{} task(s){}", now.running(), now.draining ? ", draining" : "");
  });
  log_info("worker is running", {{"name", name}});
  const worker::WorkerEnd end = worker.wait();
  log_info("worker ends", {{"reason", end.reason}});
  if (end.kind == worker::WorkerEnd::Kind::Refused) {
    complain(end.reason);
    return kUnreachable;
  }
  return kOk;
}

int validate_settings(const WorkerFlags& flags) {
  const Result<worker::Settings> settings = read_settings(flags);
  if (!settings.ok()) {
    complain(settings.error().to_string());
    return kFailed;
  }
  for (const std::string& warning : settings.value().warnings) complain(warning);
  if (flags.output == "json") {
    print_json({{"schema_version", 1},
                {"worker",
                 {{"name", settings.value().name},
                  {"labels", settings.value().labels},
                  {"resources", settings.value().resources},
                  {"upstreams", settings.value().upstreams.size()}}},
                {"warnings", settings.value().warnings}});
    return kOk;
  }
  std::printf("worker '%s': %zu upstream(s), %zu label(s), %zu resource(s): ok\n",
              settings.value().name.c_str(), settings.value().upstreams.size(),
              settings.value().labels.size(), settings.value().resources.size());
  return kOk;
}

// Asks once a second; a blip of the network is not the end of the wait. An upstream that does not
// know this worker has no task of it. False: gave up, and said so.
bool wait_until_idle(rpc::Upstream& server, const std::string& endpoint,
                     std::optional<Monotonic> give_up) {
  std::size_t said = 0;
  for (;;) {
    const Result<rpc::RunningTasks> running =
        server.running_tasks(StopToken(), system_clock().now() + std::chrono::seconds(30));
    if (!running.ok() && running.error().code() == Code::NotFound) return true;
    if (running.ok() && running.value().ids.empty()) return true;
    if (!running.ok() && (running.error().code() == Code::Unauthenticated ||
                          running.error().code() == Code::PermissionDenied)) {
      complain(fmt::format("{}: {}", endpoint, running.error().to_string()));
      return false;
    }
    if (running.ok() && running.value().ids.size() != said) {
      said = running.value().ids.size();
      std::fprintf(stderr, "waiting for %zu task(s): %s\n", said,
                   fmt::format("{}", fmt::join(running.value().ids, ", ")).c_str());
    }
    if (give_up && system_clock().now() >= *give_up) {
      complain(fmt::format("{}: {}", endpoint,
                           running.ok() ? fmt::format("{} task(s) still run after --timeout", said)
                                        : running.error().to_string()));
      return false;
    }
    (void)wait_for(StopToken(), std::chrono::seconds(1));
  }
}

// Each upstream in order; NOT_FOUND means it never saw this worker, which is fine.
// Source: reference worker, pause and resume.
int set_disabled(const WorkerFlags& flags, bool disabled) {
  const Result<worker::Settings> settings = read_settings(flags);
  if (!settings.ok()) {
    complain(settings.error().to_string());
    return kFailed;
  }
  std::optional<Monotonic> give_up;
  if (flags.timeout_seconds > 0) {
    give_up = system_clock().now() + std::chrono::seconds(flags.timeout_seconds);
  }
  for (const worker::UpstreamSettings& upstream : settings.value().upstreams) {
    Result<std::unique_ptr<rpc::Upstream>> made =
        rpc::make_upstream(upstream_options(upstream, settings.value().name, ""));
    if (!made.ok()) {
      complain(made.error().to_string());
      return kFailed;
    }
    const std::unique_ptr<rpc::Upstream> server = std::move(made).value();
    const auto deadline = [] { return system_clock().now() + std::chrono::seconds(30); };
    const Result<bool> state = server->set_disabled(disabled, StopToken(), deadline());
    if (!state.ok() && state.error().code() != Code::NotFound) {
      complain(fmt::format("{}: {}", upstream.endpoint, state.error().to_string()));
      return kFailed;
    }
    if (state.ok() && state.value() != disabled) {
      complain(fmt::format("{}: the server did not take the new state", upstream.endpoint));
      return kFailed;
    }
    if (disabled && flags.wait && !wait_until_idle(*server, upstream.endpoint, give_up)) {
      return kFailed;
    }
  }
  if (flags.output == "json") {
    print_json(change_of(disabled ? "worker.pause" : "worker.resume", "worker",
                         {{"name", settings.value().name}, {"disabled", disabled}}));
  }
  return kOk;
}

// Each finding on a line: ok, warn or FAIL, and what to do. Exit 1 if anything failed.
int examine(const WorkerFlags& flags) {
  const Result<worker::Settings> settings = read_settings(flags);
  std::vector<Finding> findings;
  if (settings.ok()) {
    findings.push_back({Finding::Level::Ok, "settings", "worker '" + settings.value().name + "'"});
    for (const std::string& warning : settings.value().warnings) {
      findings.push_back({Finding::Level::Warn, "settings", warning});
    }
    examine_upstreams(settings.value(), findings);
    examine_machine(settings.value(), data_directory_of(flags, settings.value()), findings);
  } else {
    findings.push_back({Finding::Level::Fail, "settings", settings.error().to_string()});
    examine_machine(worker::Settings{}, data_directory_of(flags, worker::Settings{}), findings);
  }
  return print_findings(findings, flags.output == "json");
}

// Settings matter only for where the data directory is, so broken ones are no reason to say nothing
// unless they were named.
int show_status(const WorkerFlags& flags) {
  const Result<worker::Settings> settings = read_settings(flags);
  if (!settings.ok() && !flags.file.empty()) {
    complain(settings.error().to_string());
    return kFailed;
  }
  const std::filesystem::path directory =
      data_directory_of(flags, settings.ok() ? settings.value() : worker::Settings{});
  const Result<nlohmann::json> document = ask_worker(directory);
  if (!document.ok()) {
    complain(document.error().to_string());
    return document.error().code() == Code::PermissionDenied ? kFailed : kUnreachable;
  }
  if (flags.output == "json") {
    print_json(document.value());
  } else {
    std::printf("%s", status_text(document.value()).c_str());
  }
  return kOk;
}

void add_flags(CLI::App& command, WorkerFlags& flags) {
  command.add_option("-f,--file", flags.file, "YAML settings file; what it says beats the flags")
      ->type_name("FILE");
  command.add_option("--name", flags.name, "worker name, unique in its pool (default: host name)");
  command.add_option("--token", flags.token, "pool registration token");
  command.add_option("--token-file", flags.token_file, "file that holds the token")
      ->type_name("FILE");
  command.add_option("--labels", flags.labels, "key=value[,key=value...], repeatable")
      ->type_name("LABELS");
  command.add_option("--resources", flags.resources, "name=amount[,name=amount...], repeatable")
      ->type_name("AMOUNTS");
  command
      .add_option("--rpc-endpoint", flags.endpoint,
                  "controller, such as https://ci.example.org:7470")
      ->type_name("URL");
  command.add_option("--data-dir", flags.data_directory, "where state is kept")->type_name("DIR");
}

void add_output(CLI::App& command, WorkerFlags& flags) {
  command.add_option("--output", flags.output, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
}

}  // namespace

void add_worker_commands(CLI::App& root, Invocation& invocation) {
  static WorkerFlags flags;
  CLI::App* worker = root.add_subcommand("worker", "Run tasks on this machine");
  worker->require_subcommand(1);

  CLI::App* run = worker->add_subcommand("run", "Join a pool and run its tasks in the foreground");
  add_flags(*run, flags);
  run->add_option("--metrics-address", flags.metrics_address,
                  "serve /metrics and /healthz, such as 127.0.0.1:9477")
      ->type_name("HOST:PORT");
  run->add_option("--user", flags.user,
                  "started as root: become this user first, for the worker and all its tasks")
      ->type_name("USER");
  run->add_flag("--user-coarse-grained", flags.user_coarse_grained,
                "accepted as the reference does; --user always gives up all of root's rights");
  run->add_flag("--ephemeral", flags.ephemeral, "take one task, then end");
  run->add_option("--max-tasks", flags.max_tasks, "take so many tasks, then end")
      ->type_name("NUMBER");
  run->add_option("--exit-after-idle", flags.exit_after_idle, "end when no task ran for so long")
      ->type_name("TIME");
  run->add_option("--drain-timeout", flags.drain_timeout,
                  "cancel what still runs so long after the first TERM")
      ->type_name("TIME");
  run->add_option("--ready-file", flags.ready_file, "written once the worker runs")
      ->type_name("FILE");
  run->footer(
      "TERM or INT drains, a second one cancels, HUP reads the settings again, USR1 leaves the\n"
      "agents to the next worker.\n\n"
      "Example:\n"
      "  cirrus worker run --token TOKEN --rpc-endpoint http://ci.local:7470 \\\n"
      "      --labels connected-device=iPhone12ProMax --resources iphone-devices=1\n");
  run->callback([&invocation] { invocation.run = [] { return run_worker(flags); }; });

  CLI::App* status =
      worker->add_subcommand("status", "Say what the worker on this machine does right now");
  add_flags(*status, flags);
  add_output(*status, flags);
  status->footer(
      "Asks the running worker of the data directory; exit code 3 if none runs there.\n\n"
      "Example:\n  cirrus worker status --data-dir /var/lib/cirrus/worker\n");
  status->callback([&invocation] { invocation.run = [] { return show_status(flags); }; });

  CLI::App* validate =
      worker->add_subcommand("validate", "Check the settings and say what is wrong");
  add_flags(*validate, flags);
  add_output(*validate, flags);
  validate->footer("Example:\n  cirrus worker validate -f /etc/cirrus/worker.yml\n");
  validate->callback([&invocation] { invocation.run = [] { return validate_settings(flags); }; });

  CLI::App* doctor = worker->add_subcommand(
      "doctor", "Check this machine and say what to do before a worker runs");
  add_flags(*doctor, flags);
  add_output(*doctor, flags);
  doctor->footer("Example:\n  cirrus worker doctor -f /etc/cirrus/worker.yml\n");
  doctor->callback([&invocation] { invocation.run = [] { return examine(flags); }; });

  CLI::App* pause = worker->add_subcommand("pause", "Give this worker no new tasks until resumed");
  add_flags(*pause, flags);
  add_output(*pause, flags);
  pause->add_flag("--wait", flags.wait, "return when no task of it runs any more");
  pause
      ->add_option("--timeout", flags.timeout_seconds, "with --wait: give up after so many seconds")
      ->type_name("SECONDS");
  pause->footer("Example:\n  cirrus worker pause --token TOKEN --name mac-1 --wait\n");
  pause->callback([&invocation] { invocation.run = [] { return set_disabled(flags, true); }; });

  CLI::App* resume = worker->add_subcommand("resume", "Undo pause");
  add_flags(*resume, flags);
  add_output(*resume, flags);
  resume->footer("Example:\n  cirrus worker resume --token TOKEN --name mac-1\n");
  resume->callback([&invocation] { invocation.run = [] { return set_disabled(flags, false); }; });
}

}  // namespace cirrus::cli
