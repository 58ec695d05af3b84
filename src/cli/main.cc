// SPDX-License-Identifier: MIT
// Wires the commands and nothing else.
#include <cstdio>
#include <cstring>

#include <CLI/CLI.hpp>

#include "cli/command.h"

namespace cirrus::cli {

std::string program_version() {
  return CIRRUS_VERSION;
}

void complain(const std::string& sentence) {
  std::fprintf(stderr, "cirrus: %s\n", sentence.c_str());
}

int run_cirrus(int argc, char** argv) {
  CLI::App app("Cirrus for your own machines: CI workers, their agent and their controller",
               "cirrus");
  app.set_version_flag("--version", "cirrus " + program_version());
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  cirrus standalone                     a controller and a worker, to try things out\n"
      "  cirrus worker run --token TOKEN       turn this machine into a worker\n"
      "  cirrus build submit . --follow        run the .cirrus.yml of this directory\n");
  Invocation invocation;
  add_worker_commands(app, invocation);
  add_controller_commands(app, invocation);
  add_standalone_command(app, invocation);
  add_build_commands(app, invocation);
  add_task_commands(app, invocation);
  add_artifact_commands(app, invocation);
  add_cache_commands(app, invocation);
  add_pool_commands(app, invocation);
  add_token_commands(app, invocation);
  add_audit_commands(app, invocation);
  add_controller_check_command(*app.get_subcommand("controller"), invocation);
  add_fleet_commands(*app.get_subcommand("worker"), invocation);
  add_validate_command(app, invocation);
  add_agent_command(app, invocation);
  const bool reference =
      argc > 1 && std::strcmp(argv[1], "worker") == 0 && !(argc > 2 && is_fleet_command(argv[2]));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& failure) {
    // Help and version are "errors" with code 0 here.
    const int code = app.exit(failure);
    if (code == 0) return kOk;
    return reference ? kFailed : kUsage;
  }
  return invocation.run ? invocation.run() : kOk;
}

}  // namespace cirrus::cli
