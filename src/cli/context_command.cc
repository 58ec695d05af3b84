// SPDX-License-Identifier: MIT
// `cirrus context add|list|use|remove`.
#include <cstdio>
#include <iostream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "cli/api_client.h"
#include "cli/api_command.h"
#include "cli/command.h"
#include "cli/contexts.h"
#include "cli/environment.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct ContextFlags {
  std::string name;
  std::string url;
  std::string token_file;
  std::string ca_file;
  std::string output = "text";
  bool unchecked = false;
};

Result<Secret> read_token(const ContextFlags& flags) {
  if (flags.token_file != "-") return read_secret_file(flags.token_file);
  std::string line;
  std::getline(std::cin, line);
  return Secret(std::string(trim(line)));
}

Status add(const ContextFlags& flags) {
  CIRRUS_TRY(check_context_name(flags.name));
  Context context{flags.url, CIRRUS_TRY(read_token(flags)), flags.ca_file};
  while (context.url.ends_with('/')) context.url.pop_back();
  if (!context.url.starts_with("http://") && !context.url.starts_with("https://")) {
    return error(Code::InvalidArgument, "'{}' is no http:// or https:// URL", flags.url);
  }
  if (!flags.unchecked) {
    // Better told now than by the next command.
    const ApiClient api = CIRRUS_TRY(ApiClient::create(context));
    CIRRUS_TRY(
        api.get("/api/v1/whoami").note("trying the context (save it as it is with --no-check)"));
  }
  Contexts contexts = CIRRUS_TRY(load_contexts(contexts_file()));
  contexts.known[flags.name] = std::move(context);
  if (contexts.current.empty()) contexts.current = flags.name;
  CIRRUS_TRY(save_contexts(contexts_file(), contexts));
  const bool current = contexts.current == flags.name;
  if (flags.output == "json") {
    print_json(change_of(
        "context.add", "context",
        {{"name", flags.name}, {"url", contexts.known[flags.name].url}, {"current", current}}));
    return {};
  }
  std::printf("context '%s' saved%s\n", flags.name.c_str(), current ? " and in use" : "");
  return {};
}

Status list(const ContextFlags& flags) {
  const Contexts contexts = CIRRUS_TRY(load_contexts(contexts_file()));
  json listed = json::array();
  for (const auto& [name, context] : contexts.known) {
    const bool current = name == contexts.current;
    listed.push_back({{"name", name}, {"url", context.url}, {"current", current}});
    if (flags.output == "text") {
      std::printf("%s %-20s %s\n", current ? "*" : " ", name.c_str(), context.url.c_str());
    }
  }
  if (flags.output == "json") {
    std::printf("%s\n", json{{"schema_version", 1}, {"contexts", listed}}.dump(2).c_str());
  } else if (contexts.known.empty()) {
    std::printf("no contexts yet: cirrus context add NAME --url URL --token-file FILE\n");
  }
  return {};
}

Result<Contexts> with_known(const ContextFlags& flags) {
  Contexts contexts = CIRRUS_TRY(load_contexts(contexts_file()));
  if (!contexts.known.contains(flags.name)) {
    return error(Code::NotFound, "there is no context '{}': see 'cirrus context list'", flags.name);
  }
  return contexts;
}

Status use(const ContextFlags& flags) {
  Contexts contexts = CIRRUS_TRY(with_known(flags));
  contexts.current = flags.name;
  CIRRUS_TRY(save_contexts(contexts_file(), contexts));
  if (flags.output == "json") {
    print_json(change_of("context.use", "context", {{"name", flags.name}, {"current", true}}));
  }
  return {};
}

Status remove(const ContextFlags& flags) {
  Contexts contexts = CIRRUS_TRY(with_known(flags));
  contexts.known.erase(flags.name);
  if (contexts.current == flags.name) contexts.current.clear();
  CIRRUS_TRY(save_contexts(contexts_file(), contexts));
  if (flags.output == "json") {
    print_json(change_of("context.remove", "context", {{"name", flags.name}}));
  }
  return {};
}

}  // namespace

void add_context_commands(CLI::App& root, Invocation& invocation) {
  static ContextFlags flags;
  CLI::App* context = root.add_subcommand("context", "Controllers you use, saved by name");
  context->require_subcommand(1);
  const auto command = [&](const char* name, const char* help, const char* example,
                           Status (*body)(const ContextFlags&)) {
    CLI::App* made = context->add_subcommand(name, help);
    made->add_option("--output", flags.output, "text or json")
        ->check(CLI::IsMember({"text", "json"}));
    made->footer(std::string("Example:\n  ") + example + "\n");
    made->callback([&invocation, body] {
      invocation.run = [body] {
        const Status done = body(flags);
        return done.ok() ? static_cast<int>(kOk) : report(done.error());
      };
    });
    return made;
  };
  CLI::App* adds =
      command("add", "Save a controller and a token for it",
              "cirrus context add lab --url https://ci.lab:7480 --token-file token", add);
  adds->add_option("name", flags.name, "what to call it")->required();
  adds->add_option("--url", flags.url, "the controller's HTTP address")->required();
  adds->add_option("--token-file", flags.token_file, "file with an API token, - for standard input")
      ->type_name("FILE")
      ->required();
  adds->add_option("--ca-file", flags.ca_file, "certificates to trust instead of the system's")
      ->type_name("FILE");
  adds->add_flag("--no-check", flags.unchecked, "do not try it");
  command("list", "Show the saved contexts", "cirrus context list", list);
  command("use", "Make a context the one that commands use", "cirrus context use lab", use)
      ->add_option("name", flags.name, "which")
      ->required();
  command("remove", "Forget a context and its token", "cirrus context remove lab", remove)
      ->add_option("name", flags.name, "which")
      ->required();
}

}  // namespace cirrus::cli
