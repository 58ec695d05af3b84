// SPDX-License-Identifier: MIT
// `cirrus token create|list|revoke` (of the API) and `cirrus audit list`.
#include <cstdio>

#include <CLI/CLI.hpp>

#include "base/strings.h"
#include "cli/api_command.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct TokenFlags : ApiCommandFlags {
  std::string name;
  std::string role = "reader";
  std::vector<std::string> repositories;
  bool trusted = false;
  bool untrusted = false;
  int limit = 50;
  std::string actor;
  std::string action;
};

int create(const TokenFlags& flags, const ApiClient& api) {
  json body = {{"name", flags.name}, {"role", flags.role}};
  if (!flags.repositories.empty()) body["repositories"] = flags.repositories;
  if (flags.trusted || flags.untrusted) body["trusted"] = flags.trusted;
  const Result<json> answer = api.post("/api/v1/tokens", body);
  if (!answer.ok()) return report(answer.error());
  if (flags.json()) {
    print_json(change_of("token.create", "api_token",
                         {{"id", text_of(answer.value(), "id")}, {"name", flags.name}},
                         answer.value()));
    return kOk;
  }
  std::fprintf(stderr, "new API token %s (%s); it is shown this once:\n",
               text_of(answer.value(), "id").c_str(), flags.name.c_str());
  std::printf("%s\n", text_of(answer.value(), "token").c_str());
  return kOk;
}

int list(const TokenFlags& flags, const ApiClient& api) {
  const Result<json> tokens = whole_list(api, "/api/v1/tokens", "tokens");
  if (!tokens.ok()) return report(tokens.error());
  if (flags.json()) {
    print_json({{"schema_version", 1}, {"tokens", tokens.value()}});
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"TOKEN", "NAME", "ROLE", "TRUSTED", "STATE", "REPOSITORIES"}};
  for (const json& token : tokens.value()) {
    const std::string revoked = text_of(token, "revoked_at");
    std::vector<std::string> repositories;
    for (const json& pattern : token.value("repositories", json::array())) {
      repositories.push_back(pattern.get<std::string>());
    }
    rows.push_back({text_of(token, "id"), text_of(token, "name"), text_of(token, "role"),
                    token.value("trusted", false) ? "yes" : "no",
                    revoked.empty() ? "good" : "revoked " + revoked, join(repositories, " ")});
  }
  std::printf("%s", render_columns(rows).c_str());
  return kOk;
}

/// By id, or by the name of a live token.
Result<std::string> id_of(const ApiClient& api, const std::string& wanted) {
  const json tokens = CIRRUS_TRY(whole_list(api, "/api/v1/tokens", "tokens"));
  for (const json& token : tokens) {
    if (text_of(token, "id") == wanted) return wanted;
    if (text_of(token, "name") == wanted && text_of(token, "revoked_at").empty()) {
      return text_of(token, "id");
    }
  }
  return error(Code::NotFound, "no API token '{}': see cirrus token list", wanted);
}

int revoke(const TokenFlags& flags, const ApiClient& api) {
  const Result<std::string> id = id_of(api, flags.name);
  if (!id.ok()) return report(id.error());
  const Result<json> answer =
      api.post("/api/v1/tokens/" + path_component(id.value()) + "/revoke", json::object());
  if (!answer.ok()) return report(answer.error());
  if (flags.json()) {
    print_json(change_of("token.revoke", "api_token", {{"id", id.value()}}, answer.value()));
  } else {
    std::printf("revoked API token %s\n", id.value().c_str());
  }
  return kOk;
}

int audit(const TokenFlags& flags, const ApiClient& api) {
  const Result<json> answer =
      api.get(fmt::format("/api/v1/audit?limit={}&actor={}&action={}", flags.limit,
                          path_component(flags.actor), path_component(flags.action)));
  if (!answer.ok()) return report(answer.error());
  if (flags.json()) {
    print_json(answer.value());
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {{"WHEN", "WHO", "WHAT", "ON"}};
  for (const json& entry : answer.value().value("audit", json::array())) {
    rows.push_back({text_of(entry, "at"), text_of(entry, "actor"), text_of(entry, "action"),
                    text_of(entry, "subject")});
  }
  std::printf("%s", render_columns(rows).c_str());
  return kOk;
}

}  // namespace

void add_token_commands(CLI::App& root, Invocation& invocation) {
  static TokenFlags flags;
  CLI::App* const token = root.add_subcommand("token", "Tokens of the HTTP API");
  token->require_subcommand(1);
  CLI::App* const create_command = add_api_command(
      *token, invocation, flags, "create", "Make a token and print it",
      "cirrus token create ci --role submitter --repo acme/app --repo 'tools/*' > token",
      [](const ApiClient& api) { return create(flags, api); });
  create_command->add_option("name", flags.name, "whose it is")->required();
  create_command->add_option("--role", flags.role, "reader, submitter, operator or admin")
      ->check(CLI::IsMember({"reader", "submitter", "operator", "admin"}));
  create_command->add_option("--repo", flags.repositories,
                             "OWNER/NAME, OWNER/* or * that it may submit to; repeatable");
  CLI::Option* const trusted =
      create_command->add_flag("--trusted", flags.trusted,
                               "its builds see secrets, write the caches all builds of a "
                               "repository read, and run in any pool");
  create_command->add_flag("--untrusted", flags.untrusted, "its builds do none of that")
      ->excludes(trusted);
  add_api_command(*token, invocation, flags, "list", "List all tokens, without their secrets",
                  "cirrus token list", [](const ApiClient& api) { return list(flags, api); });
  CLI::App* const revoke_command =
      add_api_command(*token, invocation, flags, "revoke", "End a token", "cirrus token revoke ci",
                      [](const ApiClient& api) { return revoke(flags, api); });
  revoke_command->add_option("token", flags.name, "its id or its name")->required();
}

void add_audit_commands(CLI::App& root, Invocation& invocation) {
  static TokenFlags flags;
  CLI::App* const log = root.add_subcommand("audit", "Who changed what");
  log->require_subcommand(1);
  CLI::App* const command =
      add_api_command(*log, invocation, flags, "list", "List the newest entries",
                      "cirrus audit list --action pool.token --limit 20",
                      [](const ApiClient& api) { return audit(flags, api); });
  command->add_option("--limit", flags.limit, "how many, up to 1000 (default 50)")
      ->check(CLI::Range(1, 1000).description(""));
  command->add_option("--actor", flags.actor, "only of this name");
  command->add_option("--action", flags.action, "only this, such as build.cancel or all of pool");
}

}  // namespace cirrus::cli
