// SPDX-License-Identifier: MIT
// `cirrus controller run`.
#include <signal.h>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "cli/command.h"
#include "cli/controller_flags.h"
#include "cli/ready_file.h"
#include "cli/service_notify.h"
#include "os/host.h"
#include "os/signals.h"

namespace cirrus::cli {

namespace {

int run_controller(ControllerFlags& flags) {
  os::block_signals({SIGINT, SIGTERM, SIGHUP});
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

void add_controller_flags(CLI::App& command, ControllerFlags& flags) {
  command.add_option("--data-dir", flags.data_directory, "where state is kept")
      ->envname("CIRRUS_CONTROLLER_DATA_DIR")
      ->type_name("DIR");
  command
      .add_option("--rpc-address", flags.rpc_address, "for workers and agents; port 0 picks one")
      ->envname("CIRRUS_CONTROLLER_RPC_ADDRESS")
      ->type_name("HOST:PORT");
  command.add_option("--http-address", flags.http_address, "for the API and git; port 0 picks one")
      ->envname("CIRRUS_CONTROLLER_HTTP_ADDRESS")
      ->type_name("HOST:PORT");
  command
      .add_option("--public-http-url", flags.public_http_url,
                  "how tasks reach the HTTP address, if not as it is bound")
      ->envname("CIRRUS_CONTROLLER_PUBLIC_HTTP_URL")
      ->type_name("URL");
  command
      .add_option("--tls-certificate", flags.tls_certificate,
                  "PEM file with the chain, for both ports; taken anew when it changes")
      ->envname("CIRRUS_CONTROLLER_TLS_CERTIFICATE")
      ->type_name("FILE");
  command.add_option("--tls-key", flags.tls_key, "PEM file with the certificate's key")
      ->envname("CIRRUS_CONTROLLER_TLS_KEY")
      ->type_name("FILE");
  command.add_flag("--allow-cleartext", flags.allow_cleartext, "serve other machines without TLS");
  command.add_option("--keep-logs", flags.keep_logs_days, "days; 0: for ever (default 90)")
      ->envname("CIRRUS_CONTROLLER_KEEP_LOGS")
      ->check(CLI::Range(0, 36500))
      ->type_name("DAYS");
  command
      .add_option("--keep-artifacts", flags.keep_artifacts_days, "days; 0: for ever (default 90)")
      ->envname("CIRRUS_CONTROLLER_KEEP_ARTIFACTS")
      ->check(CLI::Range(0, 36500))
      ->type_name("DAYS");
  command
      .add_option("--keep-builds", flags.keep_builds_days,
                  "days that finished builds stay, with all that is theirs; 0: for ever (default "
                  "365)")
      ->envname("CIRRUS_CONTROLLER_KEEP_BUILDS")
      ->check(CLI::Range(0, 36500))
      ->type_name("DAYS");
  command
      .add_option("--most-builds", flags.most_builds,
                  "of more than this many the oldest finished ones go; 0: no limit (default 0)")
      ->envname("CIRRUS_CONTROLLER_MOST_BUILDS")
      ->check(CLI::Range(0, 1'000'000'000))
      ->type_name("NUMBER");
  command
      .add_option("--least-free", flags.least_free_megabytes,
                  "with less free on the disk the oldest caches, artifacts and logs go (default "
                  "1024)")
      ->envname("CIRRUS_CONTROLLER_LEAST_FREE")
      ->check(CLI::Range(0, 1'000'000'000))
      ->type_name("MB");
  command
      .add_option("--uploads-least-free", flags.uploads_least_free_megabytes,
                  "with less free on the disk new caches and artifacts are refused (default 512)")
      ->envname("CIRRUS_CONTROLLER_UPLOADS_LEAST_FREE")
      ->check(CLI::Range(0, 1'000'000'000))
      ->type_name("MB");
  command.add_option("--ready-file", flags.ready_file, "written once everything serves")
      ->type_name("FILE");
}

controller::ControllerOptions controller_options(const ControllerFlags& flags) {
  controller::ControllerOptions options;
  options.data_dir = flags.data_directory;
  options.rpc_address = flags.rpc_address;
  options.http_address = flags.http_address;
  options.public_http_url = flags.public_http_url;
  options.tls_certificate = flags.tls_certificate;
  options.tls_key = flags.tls_key;
  options.allow_cleartext = flags.allow_cleartext;
  options.retention.logs = std::chrono::hours(24) * flags.keep_logs_days;
  options.retention.artifacts = std::chrono::hours(24) * flags.keep_artifacts_days;
  options.builds.age = std::chrono::hours(24) * flags.keep_builds_days;
  options.builds.most = flags.most_builds;
  options.retention.least_free_bytes = static_cast<std::uint64_t>(flags.least_free_megabytes)
                                       << 20U;
  options.least_free_for_uploads = static_cast<std::uint64_t>(flags.uploads_least_free_megabytes)
                                   << 20U;
  return options;
}

std::map<std::string, std::string> ready_fields(const controller::Controller& controller) {
  return {{"rpc_endpoint", controller.rpc_endpoint()},
          {"http_url", controller.http_url()},
          {"admin_token_file", controller.admin_token_file().string()},
          {"registration_token_file", controller.registration_token_file().string()}};
}

void add_controller_commands(CLI::App& root, Invocation& invocation) {
  static ControllerFlags flags;
  CLI::App* controller = root.add_subcommand("controller", "The control plane workers report to");
  controller->require_subcommand(1);
  CLI::App* run = controller->add_subcommand("run", "Serve workers, agents and the API");
  add_controller_flags(*run, flags);
  run->footer(
      "Example:\n"
      "  cirrus controller run --data-dir /var/lib/cirrus/controller \\\n"
      "      --rpc-address 127.0.0.1:7470 --http-address 127.0.0.1:7480\n");
  run->callback([&invocation] { invocation.run = [] { return run_controller(flags); }; });
}

}  // namespace cirrus::cli
