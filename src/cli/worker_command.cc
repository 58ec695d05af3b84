// SPDX-License-Identifier: MIT
// `cirrus worker run|validate|pause|resume`.
#include <signal.h>

#include <cstdio>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "cli/command.h"
#include "cli/environment.h"
#include "cli/log_file.h"
#include "cli/ready_file.h"
#include "cli/worker_stack.h"
#include "os/files.h"
#include "os/host.h"
#include "os/signals.h"
#include "rpc/grpc/upstream_client.h"

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

std::filesystem::path data_directory_of(const WorkerFlags& flags) {
  if (!flags.data_directory.empty()) return flags.data_directory;
  if (const auto directory = variable("CIRRUS_WORKER_DATA_DIR")) return *directory;
  return os::default_state_directory() / "worker";
}

int run_worker(const WorkerFlags& flags) {
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
  const std::string name = settings.value().name;
  Result<std::unique_ptr<WorkerStack>> stack =
      WorkerStack::start(std::move(settings).value(), data_directory_of(flags));
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
      log_warning("reload is not supported yet: restart the worker, its tasks go on");
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
  Result<ReadyFile> ready = ReadyFile::write(flags.ready_file, {{"name", name}});
  if (!ready.ok()) {
    complain(ready.error().to_string());
    return kFailed;
  }
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
  std::printf("worker '%s': %zu upstream(s), %zu label(s), %zu resource(s): ok\n",
              settings.value().name.c_str(), settings.value().upstreams.size(),
              settings.value().labels.size(), settings.value().resources.size());
  return kOk;
}

// Each upstream in order; NOT_FOUND means it never saw this worker, which is fine.
// Source: reference worker, pause and resume.
int set_disabled(const WorkerFlags& flags, bool disabled) {
  const Result<worker::Settings> settings = read_settings(flags);
  if (!settings.ok()) {
    complain(settings.error().to_string());
    return kFailed;
  }
  for (const worker::UpstreamSettings& upstream : settings.value().upstreams) {
    rpc::UpstreamOptions options;
    options.endpoint = rpc::Endpoint::parse(upstream.endpoint).value();
    options.identity = {upstream.token, settings.value().name, ""};
    const std::unique_ptr<rpc::Upstream> server = rpc::make_upstream(std::move(options)).value();
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
    while (disabled && flags.wait) {
      const Result<std::vector<std::string>> running =
          server->running_tasks(StopToken(), deadline());
      if (!running.ok() && running.error().code() != Code::NotFound) {
        complain(fmt::format("{}: {}", upstream.endpoint, running.error().to_string()));
        return kFailed;
      }
      if (!running.ok() || running.value().empty()) break;
      std::fprintf(stderr, "waiting for %zu task(s)\n", running.value().size());
      (void)wait_for(StopToken(), std::chrono::seconds(1));
    }
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
}

}  // namespace

void add_worker_commands(CLI::App& root, Invocation& invocation) {
  static WorkerFlags flags;
  CLI::App* worker = root.add_subcommand("worker", "Run tasks on this machine");
  worker->require_subcommand(1);

  CLI::App* run = worker->add_subcommand("run", "Join a pool and run its tasks in the foreground");
  add_flags(*run, flags);
  run->add_option("--data-dir", flags.data_directory, "where state is kept")->type_name("DIR");
  run->add_option("--ready-file", flags.ready_file, "written once the worker runs")
      ->type_name("FILE");
  run->footer(
      "TERM or INT drains, a second one cancels, USR1 leaves the agents to the next worker.\n\n"
      "Example:\n"
      "  cirrus worker run --token TOKEN --rpc-endpoint http://ci.local:7470 \\\n"
      "      --labels connected-device=iPhone12ProMax --resources iphone-devices=1\n");
  run->callback([&invocation] { invocation.run = [] { return run_worker(flags); }; });

  CLI::App* validate =
      worker->add_subcommand("validate", "Check the settings and say what is wrong");
  add_flags(*validate, flags);
  validate->footer("Example:\n  cirrus worker validate -f /etc/cirrus/worker.yml\n");
  validate->callback([&invocation] { invocation.run = [] { return validate_settings(flags); }; });

  CLI::App* pause = worker->add_subcommand("pause", "Give this worker no new tasks until resumed");
  add_flags(*pause, flags);
  pause->add_flag("--wait", flags.wait, "return when no task of it runs any more");
  pause->footer("Example:\n  cirrus worker pause --token TOKEN --name mac-1 --wait\n");
  pause->callback([&invocation] { invocation.run = [] { return set_disabled(flags, true); }; });

  CLI::App* resume = worker->add_subcommand("resume", "Undo pause");
  add_flags(*resume, flags);
  resume->footer("Example:\n  cirrus worker resume --token TOKEN --name mac-1\n");
  resume->callback([&invocation] { invocation.run = [] { return set_disabled(flags, false); }; });
}

}  // namespace cirrus::cli
