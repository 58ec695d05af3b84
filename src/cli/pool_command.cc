// SPDX-License-Identifier: MIT
// `cirrus pool create|list|show|set|pause|resume` and `cirrus pool token
// create|list|rotate|revoke`.
#include <cstdio>

#include <CLI/CLI.hpp>

#include "base/strings.h"
#include "cli/api_command.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct PoolFlags : ApiCommandFlags {
  std::string name;
  std::string id;
  std::string note;
  std::string worker_names;
  std::string hold;
  std::string untrusted;
  std::string record_shells;
  bool trusted_only = false;
  std::int64_t lost_after = -1;
  std::int64_t overlap = 86400;
};

std::string pool_path(const PoolFlags& flags) {
  return "/api/v1/pools/" + path_component(flags.name);
}

json settings_of(const PoolFlags& flags) {
  json body = json::object();
  if (flags.lost_after >= 0) body["lost_after_seconds"] = flags.lost_after;
  if (!flags.hold.empty()) body["hold_reference_polls"] = flags.hold == "yes";
  if (flags.trusted_only) body["untrusted_isolations"] = json::array();
  if (!flags.untrusted.empty()) body["untrusted_isolations"] = split(flags.untrusted, ',');
  if (!flags.record_shells.empty()) body["record_shells"] = flags.record_shells == "yes";
  return body;
}

/// What tasks of untrusted builds may use in a pool, in a few words.
std::string untrusted_text(const json& pool) {
  const json isolations = pool.value("untrusted_isolations", json::array({"any"}));
  if (isolations.empty()) return "trusted builds only";
  if (isolations == json::array({"any"})) return "any build";
  return "untrusted builds: " + join(isolations.get<std::vector<std::string>>(), ", ");
}

/// Prints what was changed as JSON, or `sentence`.
int done(const PoolFlags& flags, const Result<json>& answer, const char* action,
         const std::string& sentence) {
  if (!answer.ok()) return report(answer.error());
  const bool is_token = std::string_view(action) == "pool.token.revoke";
  if (flags.json()) {
    print_json(is_token
                   ? change_of(action, "registration_token", {{"id", flags.id}}, answer.value())
                   : change_of(action, "pool", {{"name", flags.name}}, answer.value()));
  } else {
    std::printf("%s\n", sentence.c_str());
  }
  return kOk;
}

/// A new secret: alone on standard output, so that it can go straight into a file.
int show_token(const PoolFlags& flags, const Result<json>& answer, const char* action) {
  if (!answer.ok()) return report(answer.error());
  if (flags.json()) {
    print_json(change_of(action, "registration_token",
                         {{"id", text_of(answer.value(), "id")}, {"pool", flags.name}},
                         answer.value()));
    return kOk;
  }
  std::fprintf(stderr, "new registration token %s; it is shown this once:\n",
               text_of(answer.value(), "id").c_str());
  std::printf("%s\n", text_of(answer.value(), "token").c_str());
  return kOk;
}

int list(const PoolFlags& flags, const ApiClient& api) {
  const Result<json> pools = whole_list(api, "/api/v1/pools", "pools");
  if (!pools.ok()) return report(pools.error());
  if (flags.json()) {
    print_json({{"schema_version", 1}, {"pools", pools.value()}});
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"POOL", "WORKERS", "CONNECTED", "STATE", "SHELLS", "TAKES"}};
  for (const json& pool : pools.value()) {
    rows.push_back({text_of(pool, "name"), text_of(pool, "workers"), text_of(pool, "connected"),
                    pool.value("paused", false) ? "paused" : "running",
                    pool.value("record_shells", false) ? "recorded" : "not recorded",
                    untrusted_text(pool)});
  }
  std::printf("%s", render_columns(rows).c_str());
  return kOk;
}

Result<json> tokens_of(const PoolFlags& flags, const ApiClient& api) {
  return whole_list(api, "/api/v1/registration-tokens?pool=" + path_component(flags.name),
                    "tokens");
}

std::string render_tokens(const json& tokens) {
  std::vector<std::vector<std::string>> rows = {{"TOKEN", "STATE", "CREATED", "FOR", "NOTE"}};
  for (const json& token : tokens) {
    const std::string revoked = text_of(token, "revoked_at");
    const std::string expires = text_of(token, "expires_at");
    const std::string names = text_of(token, "worker_names");
    rows.push_back({text_of(token, "id"),
                    !revoked.empty()   ? "revoked " + revoked
                    : !expires.empty() ? "until " + expires
                                       : "good",
                    text_of(token, "created_at"), names.empty() ? "any worker" : names,
                    text_of(token, "note")});
  }
  return render_columns(rows);
}

int show_tokens(const PoolFlags& flags, const ApiClient& api) {
  const Result<json> tokens = tokens_of(flags, api);
  if (!tokens.ok()) return report(tokens.error());
  if (flags.json()) {
    print_json({{"schema_version", 1}, {"tokens", tokens.value()}});
  } else {
    std::printf("%s", render_tokens(tokens.value()).c_str());
  }
  return kOk;
}

int show(const PoolFlags& flags, const ApiClient& api) {
  const Result<json> answer = api.get(pool_path(flags));
  if (!answer.ok()) return report(answer.error());
  const Result<json> tokens = tokens_of(flags, api);
  if (!tokens.ok()) return report(tokens.error());
  const json pool = answer.value().value("pool", json::object());
  if (flags.json()) {
    print_json({{"schema_version", 1}, {"pool", pool}, {"tokens", tokens.value()}});
    return kOk;
  }
  std::printf(
      "pool %s: %s, %s of %s workers connected, lost after %lld s, reference polls %s, "
      "shells %s, takes %s\n",
      text_of(pool, "name").c_str(), pool.value("paused", false) ? "paused" : "running",
      text_of(pool, "connected").c_str(), text_of(pool, "workers").c_str(),
      static_cast<long long>(pool.value("lost_after_ms", std::int64_t{0}) / 1000),
      pool.value("hold_reference_polls", true) ? "held" : "not held",
      pool.value("record_shells", false) ? "recorded" : "not recorded",
      untrusted_text(pool).c_str());
  std::printf("%s", render_tokens(tokens.value()).c_str());
  return kOk;
}

void add_token_commands(CLI::App& pool, Invocation& invocation, PoolFlags& flags) {
  CLI::App* const token = pool.add_subcommand("token", "Tokens that let workers join a pool");
  token->require_subcommand(1);
  const auto body_of = [&flags] {
    json body = json::object();
    if (!flags.note.empty()) body["note"] = flags.note;
    if (!flags.worker_names.empty()) body["worker_names"] = flags.worker_names;
    return body;
  };
  const auto describes = [&flags](CLI::App* command) {
    command->add_option("--note", flags.note, "what it is for");
    command->add_option("--worker-names", flags.worker_names,
                        "whom it lets in: a name, or a beginning and * (default: any)");
  };
  CLI::App* const create =
      add_api_command(*token, invocation, flags, "create", "Make a token and print it",
                      "cirrus pool token create default --worker-names 'mac-*' > token",
                      [&flags, body_of](const ApiClient& api) {
                        return show_token(flags, api.post(pool_path(flags) + "/tokens", body_of()),
                                          "pool.token.create");
                      });
  create->add_option("pool", flags.name, "pool")->required();
  describes(create);
  CLI::App* const list_tokens = add_api_command(
      *token, invocation, flags, "list", "List a pool's tokens, without their secrets",
      "cirrus pool token list default",
      [&flags](const ApiClient& api) { return show_tokens(flags, api); });
  list_tokens->add_option("pool", flags.name, "pool")->required();
  CLI::App* const rotate = add_api_command(
      *token, invocation, flags, "rotate",
      "Make a token that replaces all others, which stay good for a while",
      "cirrus pool token rotate default --overlap 24h > token",
      [&flags, body_of](const ApiClient& api) {
        json body = body_of();
        body["overlap_seconds"] = flags.overlap;
        return show_token(flags, api.post(pool_path(flags) + "/tokens", body), "pool.token.rotate");
      });
  rotate->add_option("pool", flags.name, "pool")->required();
  read_duration(*rotate, "--overlap", flags.overlap, "how long the others stay good (default 24h)");
  describes(rotate);
  CLI::App* const revoke = add_api_command(
      *token, invocation, flags, "revoke", "End a token and every session it made",
      "cirrus pool token revoke 0123456789ab", [&flags](const ApiClient& api) {
        return done(flags,
                    api.post("/api/v1/registration-tokens/" + path_component(flags.id) + "/revoke",
                             json::object()),
                    "pool.token.revoke", "revoked registration token " + flags.id);
      });
  revoke->add_option("id", flags.id, "token, as `pool token list` shows it")->required();
}

}  // namespace

void add_pool_commands(CLI::App& root, Invocation& invocation) {
  static PoolFlags flags;
  CLI::App* const pool = root.add_subcommand("pool", "Pools of workers and their tokens");
  pool->require_subcommand(1);
  const auto settable = [](CLI::App* command) {
    read_duration(*command, "--lost-after", flags.lost_after,
                  "silence after which a worker's tasks run again (default 10m)");
    command->add_option("--hold-reference-polls", flags.hold, "yes or no (default yes)")
        ->check(CLI::IsMember({"yes", "no"}));
    CLI::Option* const only = command->add_flag("--trusted-only", flags.trusted_only,
                                                "take tasks of trusted builds only");
    command
        ->add_option("--untrusted-isolations", flags.untrusted,
                     "what tasks of untrusted builds may run in: any (the default), or of none, "
                     "container, tart, vetu, parallels, with commas")
        ->type_name("LIST")
        ->excludes(only);
    command
        ->add_option("--record-shells", flags.record_shells,
                     "yes or no (default): keep what people's shells in its tasks show, with the "
                     "tasks' logs")
        ->check(CLI::IsMember({"yes", "no"}));
  };
  CLI::App* const create = add_api_command(
      *pool, invocation, flags, "create", "Make a pool",
      "cirrus pool create release --trusted-only", [](const ApiClient& api) {
        json body = settings_of(flags);
        body["name"] = flags.name;
        return done(flags, api.post("/api/v1/pools", body), "pool.create",
                    "made pool " + flags.name + "; let workers in with: cirrus pool token create " +
                        flags.name);
      });
  create->add_option("name", flags.name, "its name")->required();
  settable(create);
  add_api_command(*pool, invocation, flags, "list", "List all pools", "cirrus pool list",
                  [](const ApiClient& api) { return list(flags, api); });
  const auto one = [&](const char* name, const char* help, const char* example,
                       std::function<int(const ApiClient&)> body) {
    CLI::App* const command =
        add_api_command(*pool, invocation, flags, name, help, example, std::move(body));
    command->add_option("name", flags.name, "pool")->required();
    return command;
  };
  one("show", "Show one pool and its tokens", "cirrus pool show default",
      [](const ApiClient& api) { return show(flags, api); });
  settable(one("set", "Change how a pool behaves",
               "cirrus pool set macs --lost-after 30m --untrusted-isolations tart,vetu",
               [](const ApiClient& api) {
                 return done(flags, api.post(pool_path(flags), settings_of(flags)), "pool.change",
                             "changed pool " + flags.name);
               }));
  one("pause", "Start nothing more in a pool; what runs goes on", "cirrus pool pause macs",
      [](const ApiClient& api) {
        return done(flags, api.post(pool_path(flags) + "/pause", json::object()), "pool.pause",
                    "paused pool " + flags.name);
      });
  one("resume", "Undo pause", "cirrus pool resume macs", [](const ApiClient& api) {
    return done(flags, api.post(pool_path(flags) + "/resume", json::object()), "pool.resume",
                "resumed pool " + flags.name);
  });
  add_token_commands(*pool, invocation, flags);
}

}  // namespace cirrus::cli
