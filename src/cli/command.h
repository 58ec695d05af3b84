// SPDX-License-Identifier: MIT
// What all commands share: exit codes, and how each registers itself with the parser.
#pragma once

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace cirrus::cli {

/// Source: design 5. The reference's own commands keep its codes (0 and 1).
enum ExitCode : int { kOk = 0, kFailed = 1, kUsage = 2, kUnreachable = 3 };

/// Where a command leaves what `main` is to run once parsing is done.
struct Invocation {
  std::function<int()> run;
  /// `worker` answers flag errors with 1, as the reference does.
  bool reference_command = false;
};

void add_agent_command(CLI::App& root, Invocation& invocation);
void add_worker_commands(CLI::App& root, Invocation& invocation);
void add_controller_commands(CLI::App& root, Invocation& invocation);
void add_standalone_command(CLI::App& root, Invocation& invocation);
void add_build_commands(CLI::App& root, Invocation& invocation);
void add_task_commands(CLI::App& root, Invocation& invocation);
void add_artifact_commands(CLI::App& root, Invocation& invocation);
void add_cache_commands(CLI::App& root, Invocation& invocation);
void add_pool_commands(CLI::App& root, Invocation& invocation);
void add_token_commands(CLI::App& root, Invocation& invocation);
void add_audit_commands(CLI::App& root, Invocation& invocation);
/// Below `controller`.
void add_controller_check_command(CLI::App& controller, Invocation& invocation);
/// Below `worker`, which the reference has: those of them that ask a controller are ours, and
/// answer wrong flags as all of ours do.
void add_fleet_commands(CLI::App& worker, Invocation& invocation);
bool is_fleet_command(const std::string& name);
void add_validate_command(CLI::App& root, Invocation& invocation);

/// The whole program; returns the exit code.
int run_cirrus(int argc, char** argv);

/// `0.1.0`.
std::string program_version();

/// Prints `cirrus: <sentence>` on standard error.
void complain(const std::string& sentence);

}  // namespace cirrus::cli
