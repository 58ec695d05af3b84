// SPDX-License-Identifier: MIT
#include "controller/core/task_messages.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"

namespace cirrus::controller::core {

namespace {
/// `http://host` with the clone token as user information.
std::string clone_url(const TaskContext& context) {
  const std::string& base = context.http_url;
  const std::size_t host = base.find("://");
  if (host == std::string::npos) return {};
  return fmt::format("{}x-access-token:{}@{}/git/{}.git", base.substr(0, host + 3),
                     context.task.clone_token, base.substr(host + 3), context.build.repository);
}

/// Whole processors the task asked for; 0: it did not say. Source: agent §5.2, CIRRUS_CPU.
int processors_of(const TaskSpec& spec) {
  double wanted = 0;
  const api::Isolation& isolation = spec.isolation;
  if (isolation.has_container()) wanted = isolation.container().cpu();
  if (isolation.has_tart()) wanted = isolation.tart().cpu();
  if (isolation.has_vetu()) wanted = isolation.vetu().cpu();
  const auto reserved = spec.demand.resources.find("cpu");
  if (wanted <= 0 && reserved != spec.demand.resources.end()) wanted = reserved->second;
  return static_cast<int>(std::ceil(std::clamp(wanted, 0.0, 1e6)));
}

/// Omitted rather than blank: agents test for presence. Source: agent §5.2.
void fill_environment(const TaskContext& context,
                      google::protobuf::Map<std::string, std::string>& env) {
  const store::BuildRecord& build = context.build;
  for (const auto& [key, value] : context.spec.message.environment()) env[key] = value;
  for (const char* key : {"CI", "CONTINUOUS_INTEGRATION", "CIRRUS_CI"}) env[key] = "true";
  env["CIRRUS_BUILD_ID"] = build.id.to_string();
  env["CIRRUS_TASK_ID"] = context.task.id.to_string();
  env["CIRRUS_TASK_NAME"] = context.spec.name;
  env["CI_NODE_INDEX"] = std::to_string(context.index);
  env["CI_NODE_TOTAL"] = std::to_string(context.total);
  env["CIRRUS_API_CREATED"] = "true";
  // What is built is the commit that was submitted, not what a merge would make of it.
  env["CIRRUS_RESOLUTION_STRATEGY"] = "SAME_SHA";
  if (const int count = processors_of(context.spec); count > 0) {
    env["CIRRUS_CPU"] = std::to_string(count);
  }
  const auto alias = context.spec.message.metadata().properties().find("alias");
  if (alias != context.spec.message.metadata().properties().end()) {
    env["CIRRUS_TASK_NAME_ALIAS"] = alias->second;
  }
  if (!build.branch.empty()) env["CIRRUS_BRANCH"] = build.branch;
  env["CIRRUS_DEFAULT_BRANCH"] = "main";  // Ours: there is no forge to ask; submitters may override
  if (!build.message.empty()) {
    env["CIRRUS_CHANGE_MESSAGE"] = build.message;
    env["CIRRUS_CHANGE_TITLE"] = split(build.message, '\n').front();
  }
  const std::size_t slash = build.repository.find('/');
  if (slash != std::string::npos) {
    env["CIRRUS_REPO_OWNER"] = build.repository.substr(0, slash);
    env["CIRRUS_REPO_NAME"] = build.repository.substr(slash + 1);
    env["CIRRUS_REPO_FULL_NAME"] = build.repository;
  }
  if (!build.commit.empty()) {
    env["CIRRUS_CHANGE_IN_REPO"] = build.commit;
    env["CIRRUS_REPO_CLONE_URL"] = clone_url(context);
  }
  for (const auto& [key, value] : build.environment) env[key] = value;
}
/// Fills `env` and returns what must not be shown.
std::vector<std::string> fill_with_secrets(const TaskContext& context,
                                           google::protobuf::Map<std::string, std::string>& env) {
  fill_environment(context, env);
  std::vector<std::string> secrets;
  if (!context.task.clone_token.empty()) secrets.push_back(context.task.clone_token);
  if (!context.open_secrets) return secrets;
  for (std::string& value : context.open_secrets(context.build.repository, env)) {
    secrets.push_back(std::move(value));
  }
  return secrets;
}
}  // namespace

std::vector<std::string> secrets_of(const TaskContext& context) {
  google::protobuf::Map<std::string, std::string> env;
  return fill_with_secrets(context, env);
}

api::CommandsResponse commands_message(const TaskContext& context) {
  api::CommandsResponse message;
  for (std::string& secret : fill_with_secrets(context, *message.mutable_environment())) {
    message.add_secrets_to_mask(std::move(secret));
  }
  *message.mutable_commands() = context.spec.message.commands();
  if (!context.terminal_step.empty()) {
    // Last, and whatever came before. Where agents of the reference find the terminal server says
    // the edge that knows how they reached it.
    api::Command& wait = *message.add_commands();
    wait.set_name(context.terminal_step);
    wait.set_execution_behaviour(api::Command::ALWAYS);
    wait.mutable_wait_for_terminal_instruction();
  }
  message.set_servertoken(context.task.server_secret);
  message.set_timeout_in_seconds(context.spec.timeout.count());
  return message;
}

api::PollResponse::AgentAwareTask assignment_message(const TaskContext& context) {
  api::PollResponse::AgentAwareTask message;
  message.set_old_task_id(context.task.id.value);
  message.set_task_id(context.task.id.to_string());
  message.set_client_secret(context.task.client_secret);
  message.set_server_secret(context.task.server_secret);
  if (context.spec.has_isolation) *message.mutable_isolation() = context.spec.isolation;
  if (context.spec.container) *message.mutable_cirrus_container() = *context.spec.container;
  for (const auto& [name, amount] : context.spec.demand.resources) {
    (*message.mutable_resources_to_use())[name] = amount;
  }
  const auto& env = context.spec.message.environment();
  const auto version = env.find("CIRRUS_CLI_VERSION");
  if (version != env.end()) message.set_cli_version(version->second);
  return message;
}

}  // namespace cirrus::controller::core
