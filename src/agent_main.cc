// SPDX-License-Identifier: MIT
// cirrus-agent: runs one task's steps and tells the gateway on its worker.
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>

#include "agent/bootstrap.h"
#include "agent/bridge.h"
#include "agent/serve.h"
#include "base/log.h"
#include "os/identity.h"
#include "rpc/grpc/blob_client.h"
#include "rpc/grpc/gateway_channel.h"
#include "rpc/grpc/gateway_client.h"
#include "rpc/grpc/shell_client.h"
#include "rpc/grpc/tunnel_client.h"

namespace {

constexpr std::string_view kUsage =
    "Usage: cirrus-agent run [--as UID:GID:GROUPS]\n"
    "       cirrus-agent start|attach|alive|interrupt DIRECTORY\n"
    "\n"
    "Runs the steps of one task. A worker starts it and hands it a bootstrap message on standard\n"
    "input; it is not meant to be started by hand. At the end of the input it exits quietly.\n"
    "\n"
    "  --as        become this user first; needs root\n"
    "  start       start an agent that outlives this command, and connect it to the worker by\n"
    "              standard input and output; its files are in DIRECTORY\n"
    "  attach      connect an agent that was started before\n"
    "  alive       exit with 0 if such an agent lives, else with 3\n"
    "  interrupt   ask it to cancel its task\n"
    "  --version   print the version\n"
    "  --help      print this text\n"
    "\n"
    "Example: cirrus worker run --name my-machine --token TOKEN   (starts agents by itself)\n";

// `identity`: the user to become before anything of the task is known; empty: as started.
int run(std::string_view identity) {
  using namespace cirrus;  // NOLINT(google-build-using-namespace): one function of the entry point
  if (!identity.empty()) {
    if (const Status became = os::become(identity); !became.ok()) {
      log_error("cannot run as the task's user", {{"reason", became.error()}});
      return 1;
    }
  }
  agent::detach_from_starter();
  agent::block_task_signals();
  // A ready agent has time before its task arrives; one that has its task already has not.
  if (!agent::has_input(0)) rpc::warm_up_gateway_client();
  const Result<std::optional<gateway::v1::Bootstrap>> bootstrap = agent::read_bootstrap(0);
  if (!bootstrap.ok()) {
    log_error("cannot start", {{"reason", bootstrap.error()}});
    return 1;
  }
  if (!bootstrap.value()) return 0;
  if (bootstrap.value()->mark_receipt()) {
    constexpr int kLock = 3;
    if (const Status marked = agent::mark_receipt(kLock); !marked.ok()) {
      // Without the mark a worker could start the task a second time.
      log_error("cannot start", {{"reason", marked.error()}});
      return 1;
    }
  }
  agent::release_standard_input();
  const std::shared_ptr<grpc::Channel> gateway =
      rpc::make_gateway_channel(bootstrap.value()->gateway_path());
  const std::unique_ptr<rpc::GatewayLink> link = rpc::make_gateway_client(gateway);
  const std::unique_ptr<rpc::BlobService> blobs = rpc::make_blob_client(
      gateway, bootstrap.value()->task_id(), Secret(bootstrap.value()->agent_secret()));
  const std::unique_ptr<rpc::TunnelLink> tunnels = rpc::make_tunnel_client(
      gateway, bootstrap.value()->task_id(), Secret(bootstrap.value()->agent_secret()));
  const std::unique_ptr<rpc::VaultLink> vault = rpc::make_vault_client(
      gateway, bootstrap.value()->task_id(), Secret(bootstrap.value()->agent_secret()));
  const std::unique_ptr<rpc::ShellLink> shells = rpc::make_shell_client(
      [gateway] { return gateway; },
      [id = bootstrap.value()->task_id(), secret = Secret(bootstrap.value()->agent_secret())] {
        return rpc::CallMetadata{{rpc::kShellTask, id}, {rpc::kShellSecret, secret.reveal()}};
      });
  const Status served = agent::serve(*bootstrap.value(), *link, *blobs, *tunnels, *vault, *shells,
                                     CIRRUS_VERSION, [] { std::_Exit(0); });
  if (!served.ok()) log_error("the task could not be run", {{"reason", served.error()}});
  return served.ok() ? 0 : 1;
}

// The exit status says what is left: 0 an agent to attach to, 3 none.
int bridged(std::string_view command, const char* program, const char* directory) {
  using namespace cirrus;  // NOLINT(google-build-using-namespace): one function of the entry point
  if (command == "alive") {
    return static_cast<int>(agent::bridge_alive(directory) ? agent::BridgeEnd::Detached
                                                           : agent::BridgeEnd::AgentGone);
  }
  if (command == "interrupt") {
    const Status sent = agent::bridge_signal(directory, SIGTERM);
    if (!sent.ok()) log_error("cannot interrupt", {{"reason", sent.error()}});
    return sent.ok() ? 0 : 1;
  }
  const Result<agent::BridgeEnd> end = command == "start" ? agent::bridge_start(program, directory)
                                                          : agent::bridge_attach(directory);
  if (end.ok()) return static_cast<int>(end.value());
  log_error("cannot connect the agent", {{"reason", end.error()}});
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "run" && argc == 2) return run({});
  if (command == "run" && argc == 4 && std::string_view(argv[2]) == "--as") return run(argv[3]);
  if (argc == 3 &&
      (command == "start" || command == "attach" || command == "alive" || command == "interrupt")) {
    return bridged(command, argv[0], argv[2]);
  }
  if (command == "--version" || command == "-version" || command == "version") {
    fmt::print("cirrus-agent {}\n", CIRRUS_VERSION);
    return 0;
  }
  if (command == "--help" || command == "-help" || command == "-h" || command == "help") {
    fmt::print("{}", kUsage);
    return 0;
  }
  fmt::print(stderr, "{}", kUsage);
  return 2;
}
