// SPDX-License-Identifier: MIT
#include "agent/task_setup.h"

#include <algorithm>

#include "agent/vault.h"
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

namespace {

VaultLogin vault_login(const TaskEnvironment& environment) {
  const auto value = [&environment](const char* name) {
    return environment.get(name).value_or(std::string());
  };
  VaultLogin login{.token = value("CIRRUS_VAULT_TOKEN"),
                   .oidc_token = value("CIRRUS_OIDC_TOKEN"),
                   .role = value("CIRRUS_VAULT_ROLE"),
                   .auth_path = value("CIRRUS_VAULT_AUTH_PATH"),
                   .name_space = value("CIRRUS_VAULT_NAMESPACE")};
  if (login.token.empty() && login.oidc_token.empty()) {
    login.token = environment.process_value("VAULT_TOKEN").value_or("");
  }
  return login;
}

bool looks_boxed(const Variables& variables) {
  return std::any_of(variables.begin(), variables.end(),
                     [](const auto& one) { return one.second.starts_with("VAULT"); });
}

}  // namespace

Result<TaskEnvironment> task_environment(const os::Environment& process,
                                         const gateway::v1::Bootstrap& bootstrap,
                                         rpc::VaultLink* vault, std::vector<std::string>& secrets) {
  const auto& commands = bootstrap.commands();
  std::set<std::string> hidden{commands.secrets_to_mask().begin(),
                               commands.secrets_to_mask().end()};
  TaskEnvironment environment(process, hidden);
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
  if (!looks_boxed(environment.variables())) return environment;
  if (vault == nullptr) {
    return error(Code::FailedPrecondition, "this worker offers no way to a Vault server");
  }
  // Other variables may embed what is fetched, so everything is put together once more.
  for (const std::string& name : CIRRUS_TRY(unbox_vault_variables(
           *vault, vault_login(environment), environment.variables(), variables))) {
    secrets.push_back(variables[name]);
    hidden.insert(variables[name]);
  }
  TaskEnvironment unboxed(process, std::move(hidden));
  unboxed.merge(variables);
  return unboxed;
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
