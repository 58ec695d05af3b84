// SPDX-License-Identifier: MIT
// `cirrus standalone`: a controller and one worker in one process.
#include <signal.h>
#include <unistd.h>

#include <cstdio>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "cli/command.h"
#include "cli/controller_flags.h"
#include "cli/environment.h"
#include "cli/ready_file.h"
#include "cli/worker_stack.h"
#include "os/files.h"
#include "os/host.h"
#include "os/signals.h"

namespace cirrus::cli {

namespace {

struct StandaloneFlags {
  ControllerFlags controller;
  std::string name = "standalone";
  std::vector<std::string> labels;
  std::vector<std::string> resources;
  std::string task_user;
  std::string tls_ca;
};

// Whom tasks run as. Nobody trusts what is only tried out with root's rights (design 3.2).
std::string task_user(const StandaloneFlags& flags) {
  if (!flags.task_user.empty()) return flags.task_user;
  if (const auto user = variable("CIRRUS_CONTROLLER_TASK_USER")) return *user;
  return ::geteuid() == 0 ? "nobody" : "";
}

/// What the worker trusts when the controller speaks TLS: the authorities of the system, the one
/// that was named, and the certificate itself, which may be its own authority.
Result<std::string> write_trust(const StandaloneFlags& flags,
                                const std::filesystem::path& directory) {
  std::string pem;
  for (const std::filesystem::path& file :
       {std::filesystem::path("/etc/ssl/certs/ca-certificates.crt"),
        std::filesystem::path("/etc/pki/tls/certs/ca-bundle.crt")}) {
    const Result<std::string> system = os::read_file(file);
    if (system.ok()) pem += system.value() + "\n";
  }
  for (const std::string& file : {flags.tls_ca, flags.controller.tls_certificate}) {
    if (file.empty()) continue;
    pem += CIRRUS_TRY(os::read_file(file, 4U << 20U).note("reading what is to be trusted")) + "\n";
  }
  CIRRUS_TRY(os::make_directories(directory));
  const std::filesystem::path trusted = directory / "trusted.pem";
  CIRRUS_TRY(os::write_file(trusted, pem));
  return trusted.string();
}

Result<worker::Settings> worker_settings(const StandaloneFlags& flags,
                                         const controller::Controller& controller,
                                         const std::filesystem::path& directory) {
  worker::Flags worker;
  worker.name = flags.name;
  worker.token = CIRRUS_TRY(read_secret_file(controller.registration_token_file().string()));
  worker.endpoint = controller.rpc_endpoint();
  worker.labels = CIRRUS_TRY(worker::parse_labels(flags.labels));
  worker.resources = CIRRUS_TRY(worker::parse_resources(flags.resources));
  if (worker.resources.empty()) {
    // Without resources a worker takes one task at a time; to try things out, more is better.
    worker.resources["cpu"] = static_cast<double>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  }
  worker::Settings settings = CIRRUS_TRY(worker::make_settings(worker, "", "", flags.name));
  settings.task_user = task_user(flags);
  if (!flags.controller.tls_certificate.empty()) {
    const std::string trusted = CIRRUS_TRY(write_trust(flags, directory));
    for (worker::UpstreamSettings& upstream : settings.upstreams) upstream.tls.ca = trusted;
    // Tasks clone from the controller's other port, through the worker.
    settings.git_authorities[controller.http_url() + "/"] = trusted;
  }
  return settings;
}

int run_standalone(const StandaloneFlags& flags) {
  os::block_signals({SIGINT, SIGTERM, SIGHUP});
  controller::ControllerOptions options = controller_options(flags.controller);
  const std::filesystem::path data = flags.controller.data_directory.empty()
                                         ? os::default_state_directory() / "standalone"
                                         : std::filesystem::path(flags.controller.data_directory);
  options.data_dir = data / "controller";
  Result<std::unique_ptr<controller::Controller>> started =
      controller::Controller::start(options, system_clock());
  if (!started.ok()) {
    complain(started.error().to_string());
    return kFailed;
  }
  const std::unique_ptr<controller::Controller> controller = std::move(started).value();
  Result<worker::Settings> settings = worker_settings(flags, *controller, data / "worker");
  if (!settings.ok()) {
    complain(settings.error().to_string());
    return kUsage;
  }
  Result<std::unique_ptr<WorkerStack>> stack =
      WorkerStack::start(std::move(settings).value(), data / "worker");
  if (!stack.ok()) {
    complain(stack.error().to_string());
    return kFailed;
  }
  worker::Worker& worker = stack.value()->worker();
  // The first signal cancels: nobody waits for a trial run to drain.
  const os::SignalThread signals({SIGINT, SIGTERM, SIGHUP}, [&](int number) {
    if (number != SIGHUP) worker.cancel_all();
  });
  const Result<ReadyFile> ready =
      ReadyFile::write(flags.controller.ready_file, ready_fields(*controller));
  if (!ready.ok()) {
    complain(ready.error().to_string());
    return kFailed;
  }
  if (::geteuid() == 0) {
    const std::string user = task_user(flags);
    if (user == "root") {
      log_warning("tasks run as root and can read what root can: use it with code you trust");
    } else {
      std::fprintf(stderr, "Tasks run as user '%s'; --task-user root would run them as root.\n",
                   user.c_str());
    }
  }
  std::fprintf(stderr,
               "cirrus standalone is ready. In another terminal:\n\n"
               "  export CIRRUS_API_URL=%s CIRRUS_API_TOKEN_FILE=%s\n"
               "  cirrus build submit . --follow\n\n",
               controller->http_url().c_str(), controller->admin_token_file().c_str());
  const worker::WorkerEnd end = worker.wait();
  log_info("standalone ends", {{"reason", end.reason}});
  stack.value().reset();
  controller->request_stop();
  return end.kind == worker::WorkerEnd::Kind::Refused ? kUnreachable : kOk;
}

}  // namespace

void add_standalone_command(CLI::App& root, Invocation& invocation) {
  static StandaloneFlags flags;
  CLI::App* standalone =
      root.add_subcommand("standalone", "A controller and one worker, to try the product");
  add_controller_flags(*standalone, flags.controller);
  standalone->add_option("--name", flags.name, "the worker's name");
  standalone->add_option("--labels", flags.labels, "the worker's labels, key=value[,...]");
  standalone->add_option("--resources", flags.resources,
                         "the worker's resources, name=amount[,...] (default: cpu=<cores>)");
  standalone
      ->add_option("--task-user", flags.task_user,
                   "user that tasks without isolation run as (default for root: nobody)")
      ->type_name("USER");
  standalone
      ->add_option(
          "--tls-ca", flags.tls_ca,
          "PEM file of the authority that signed the certificate, for the worker (default: "
          "the system's, and the certificate itself)")
      ->envname("CIRRUS_CONTROLLER_TLS_CA")
      ->type_name("FILE");
  standalone->footer("Example:\n  cirrus standalone --data-dir /tmp/cirrus\n");
  standalone->callback([&invocation] { invocation.run = [] { return run_standalone(flags); }; });
}

}  // namespace cirrus::cli
