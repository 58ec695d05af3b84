// SPDX-License-Identifier: MIT
// `cirrus controller run|validate`.
#include <signal.h>

#include <cstdio>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "cli/api_command.h"
#include "cli/command.h"
#include "cli/controller_flags.h"
#include "cli/ready_file.h"
#include "cli/service_notify.h"
#include "os/files.h"
#include "os/host.h"
#include "os/signals.h"

namespace cirrus::cli {

namespace {

struct RunFlags {
  ControllerFlags controller;
  std::string file;
  std::string output = "text";
};

// The first implicit file that exists. Source: design 5, places.
std::string implicit_file() {
  for (const std::filesystem::path& path : {std::filesystem::path("/etc/cirrus/controller.yml"),
                                            os::user_config_directory() / "controller.yml"}) {
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) return path.string();
  }
  return {};
}

// Later wins: built-in, implicit file, environment, flags, a file named with -f. Returns the file
// that was read; empty: none.
Result<std::string> read_settings(const CLI::App& command, RunFlags& flags) {
  const bool named = !flags.file.empty();
  const std::string file = named ? flags.file : implicit_file();
  if (file.empty()) return file;
  const std::string text =
      CIRRUS_TRY(os::read_file(file, 1U << 20U).note("reading the settings file"));
  // The parser counts what comes from the environment, too.
  const auto is_given = [&](const std::string& flag) { return !named && command.count(flag) > 0; };
  CIRRUS_TRY(read_controller_settings(text, file, is_given, flags.controller));
  return file;
}

int validate_settings(const CLI::App& command, RunFlags& flags) {
  const Result<std::string> file = read_settings(command, flags);
  if (!file.ok()) {
    complain(file.error().to_string());
    return kFailed;
  }
  if (file.value().empty()) {
    complain("there is no /etc/cirrus/controller.yml and none of your own: name a file with -f");
    return kUsage;
  }
  const controller::ControllerOptions options = controller_options(flags.controller);
  if (const Status checked = controller::Controller::check(options); !checked.ok()) {
    complain(fmt::format("{}: {}", file.value(), checked.error().to_string()));
    return kFailed;
  }
  if (flags.output == "json") {
    print_json({{"schema_version", 1}, {"file", file.value()}, {"valid", true}});
  } else {
    std::printf("%s: ok\n", file.value().c_str());
  }
  return kOk;
}

int run_controller(const CLI::App& command, RunFlags& given) {
  os::block_signals({SIGINT, SIGTERM, SIGHUP});
  const Result<std::string> file = read_settings(command, given);
  if (!file.ok()) {
    complain(file.error().to_string());
    return kFailed;
  }
  const ControllerFlags& flags = given.controller;
  controller::ControllerOptions options = controller_options(flags);
  if (options.data_dir.empty()) options.data_dir = os::default_state_directory() / "controller";
  Result<std::unique_ptr<controller::Controller>> started =
      controller::Controller::start(options, system_clock());
  if (!started.ok()) {
    complain(started.error().to_string());
    return kFailed;
  }
  const std::unique_ptr<controller::Controller> running = std::move(started).value();
  StopSource over;
  const os::SignalThread signals({SIGINT, SIGTERM, SIGHUP}, [&](int number) {
    if (number == SIGHUP) return;
    running->request_stop();
    over.request_stop();
  });
  const Result<ReadyFile> ready = ReadyFile::write(flags.ready_file, ready_fields(*running));
  if (!ready.ok()) {
    complain(ready.error().to_string());
    return kFailed;
  }
  log_info("controller is running",
           {{"rpc", running->rpc_endpoint()}, {"http", running->http_url()}});
  const ServiceNotifier notifier([&] {
    return fmt::format("serving workers at {} and people at {}", running->rpc_endpoint(),
                       running->http_url());
  });
  // Nothing to do here but to wait for a signal.
  while (wait_for(over.get_token(), std::chrono::hours(24))) {
  }
  log_info("controller ends");
  return kOk;
}

}  // namespace

void add_controller_commands(CLI::App& root, Invocation& invocation) {
  static RunFlags flags;
  CLI::App* controller = root.add_subcommand("controller", "The control plane workers report to");
  controller->require_subcommand(1);
  CLI::App* run = controller->add_subcommand("run", "Serve workers, agents and the API");
  const auto takes_file = [](CLI::App* command) {
    command->add_option("-f,--file", flags.file, "settings; they go before flags and variables")
        ->envname("CIRRUS_CONTROLLER_FILE")
        ->type_name("FILE");
  };
  add_controller_flags(*run, flags.controller);
  takes_file(run);
  run->footer(
      "Example:\n"
      "  cirrus controller run --data-dir /var/lib/cirrus/controller \\\n"
      "      --rpc-address 127.0.0.1:7470 --http-address 127.0.0.1:7480\n");
  run->callback(
      [&invocation, run] { invocation.run = [run] { return run_controller(*run, flags); }; });
  CLI::App* validate = controller->add_subcommand("validate", "Check a settings file");
  takes_file(validate);
  validate->add_option("--output", flags.output, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  validate->footer("Example:\n  cirrus controller validate -f /etc/cirrus/controller.yml\n");
  validate->callback([&invocation, validate] {
    invocation.run = [validate] { return validate_settings(*validate, flags); };
  });
}

}  // namespace cirrus::cli
