// SPDX-License-Identifier: MIT
#include "agent/task_setup.h"

#include "base/ids.h"
#include "os/files.h"
#include "os/host.h"

namespace cirrus::agent {

os::Environment process_environment(os::Environment inherited,
                                    const gateway::v1::Bootstrap& bootstrap) {
  for (const std::string& name : bootstrap.removed_environment()) inherited.erase(name);
  // A key for sending error reports; no script's business. Source: reference agent.
  inherited.erase("SENTRY_DSN");
  for (const auto& [name, value] : bootstrap.process_environment()) inherited[name] = value;
  if (!bootstrap.task_cookie().empty()) inherited["CIRRUS_TASK_COOKIE"] = bootstrap.task_cookie();
  return inherited;
}

TaskEnvironment task_environment(const os::Environment& process,
                                 const gateway::v1::Bootstrap& bootstrap) {
  const auto& commands = bootstrap.commands();
  TaskEnvironment environment(
      process, {commands.secrets_to_mask().begin(), commands.secrets_to_mask().end()});
  Variables variables(commands.environment().begin(), commands.environment().end());
  variables["CIRRUS_OS"] = os::os_name();
  variables["CIRRUS_ARCH"] = os::arch_name();
  if (!process.contains("OS")) variables.emplace("OS", os::os_name());
  if (!variables.contains("CIRRUS_WORKING_DIR")) {
    std::string directory = bootstrap.pre_created_working_dir();
    if (directory.empty()) {
      const auto temporary = process.find("TMPDIR");
      directory = fallback_working_directory(
          temporary == process.end() || temporary->second.empty() ? "/tmp" : temporary->second,
          bootstrap.task_id(), !bootstrap.command_from().empty());
    }
    variables["CIRRUS_WORKING_DIR"] = directory;
  }
  environment.merge(variables);
  return environment;
}

std::string fallback_working_directory(const std::filesystem::path& temporary,
                                       const std::string& task_id, bool resumed) {
  const std::filesystem::path usual = temporary / "cirrus-ci-build";
  std::error_code ignored;
  if (resumed || !std::filesystem::exists(std::filesystem::symlink_status(usual, ignored))) {
    return usual.string();
  }
  return (temporary / ("cirrus-task-" + task_id + random_hex(8))).string();
}

Result<Scratch> Scratch::open(const std::string& given) {
  if (!given.empty()) {
    CIRRUS_TRY(os::make_directories(given, 0700).note("making the scratch directory"));
    return Scratch(given, std::nullopt);
  }
  os::TempDir own = CIRRUS_TRY(os::TempDir::create("cirrus-agent"));
  std::filesystem::path path = own.path();
  return Scratch(std::move(path), std::move(own));
}

}  // namespace cirrus::agent
