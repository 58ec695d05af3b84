// SPDX-License-Identifier: MIT
// `cirrus controller backup` and `cirrus controller check`.
#include <signal.h>

#include <cstdio>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "controller/backup.h"
#include "os/host.h"
#include "os/signals.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct BackupFlags {
  std::string data_directory;
  std::string target;
  std::string output = "text";
  bool without_caches = false;
};

std::filesystem::path data_directory_of(const BackupFlags& flags) {
  if (!flags.data_directory.empty()) return flags.data_directory;
  return os::default_state_directory() / "controller";
}

int backup(const BackupFlags& flags) {
  os::block_signals({SIGINT, SIGTERM});
  StopSource interrupted;
  const os::SignalThread signals({SIGINT, SIGTERM}, [&](int) { interrupted.request_stop(); });
  const Result<controller::BackupReport> report = controller::back_up(
      {data_directory_of(flags), flags.target, !flags.without_caches}, interrupted.get_token());
  if (!report.ok()) {
    complain(report.error().to_string());
    return kFailed;
  }
  if (flags.output == "json") {
    std::printf("%s\n", json{{"schema_version", 1},
                             {"directory", flags.target},
                             {"files", report.value().files},
                             {"bytes", report.value().bytes}}
                            .dump(2)
                            .c_str());
  } else {
    std::printf("%s\n", fmt::format("backed up {} files, {} bytes, to {}", report.value().files,
                                    report.value().bytes, flags.target)
                            .c_str());
  }
  return kOk;
}

int check(const BackupFlags& flags) {
  os::block_signals({SIGINT, SIGTERM});
  StopSource interrupted;
  const os::SignalThread signals({SIGINT, SIGTERM}, [&](int) { interrupted.request_stop(); });
  const Result<controller::CheckReport> found =
      controller::check(data_directory_of(flags), interrupted.get_token());
  if (!found.ok()) {
    complain(found.error().to_string());
    return kFailed;
  }
  const controller::CheckReport& report = found.value();
  if (flags.output == "json") {
    std::printf("%s\n", json{{"schema_version", 1},
                             {"faults", report.faults},
                             {"builds", report.builds},
                             {"logs", report.logs},
                             {"artifacts", report.artifacts}}
                            .dump(2)
                            .c_str());
  } else {
    for (const std::string& fault : report.faults) std::printf("fault: %s\n", fault.c_str());
    std::printf("%s\n", fmt::format("{} builds, logs of {} tasks, artifacts of {} tasks: {}",
                                    report.builds, report.logs, report.artifacts,
                                    report.faults.empty() ? "all is well" : "not whole")
                            .c_str());
  }
  return report.faults.empty() ? kOk : kFailed;
}

}  // namespace

void add_backup_commands(CLI::App& root, Invocation& invocation) {
  static BackupFlags flags;
  CLI::App* controller = root.get_subcommand("controller");
  const auto common = [](CLI::App* command) {
    command->add_option("--data-dir", flags.data_directory, "where the controller keeps its state")
        ->envname("CIRRUS_CONTROLLER_DATA_DIR")
        ->type_name("DIR");
    command->add_option("--output", flags.output, "text or json")
        ->check(CLI::IsMember({"text", "json"}));
  };
  CLI::App* backs = controller->add_subcommand(
      "backup", "Copy everything a controller keeps, also while it runs");
  common(backs);
  backs->add_option("target", flags.target, "a new directory")->required();
  backs->add_flag("--without-caches", flags.without_caches, "leave out what builds can make anew");
  backs->footer(
      "Example:\n"
      "  cirrus controller backup --data-dir /var/lib/cirrus/controller /backup/$(date +%F)\n"
      "The copy is a data directory. To restore, start a controller on it:\n"
      "  cirrus controller run --data-dir /backup/2026-06-01\n"
      "It holds the master key and tokens: keep it as safe as the controller itself.\n");
  backs->callback([&invocation] { invocation.run = [] { return backup(flags); }; });
  CLI::App* checks =
      controller->add_subcommand("check", "Look whether a data directory or a back-up is whole");
  common(checks);
  checks->footer("Example:\n  cirrus controller check --data-dir /backup/2026-06-01\n");
  checks->callback([&invocation] { invocation.run = [] { return check(flags); }; });
}

}  // namespace cirrus::cli
