// SPDX-License-Identifier: MIT
// `cirrus completion`, `cirrus help`, and what the shells ask (`cirrus __complete`).
#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/api_client.h"
#include "cli/command.h"
#include "cli/command_tree.h"
#include "cli/completion.h"
#include "cli/contexts.h"
#include "cli/manual.h"
#include "os/files.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct HelpFlags {
  std::string shell;
  std::string manual_directory;
  bool reference = false;
};

/// Names from the controller or the saved contexts; nothing when they cannot be had: a shell must
/// neither wait nor complain while somebody types.
std::vector<std::string> names_of(const std::string& kind) {
  std::vector<std::string> names;
  if (kind == "context") {
    const Result<Contexts> contexts = load_contexts(contexts_file());
    if (!contexts.ok()) return names;
    for (const auto& [name, context] : contexts.value().known) names.push_back(name);
    return names;
  }
  Result<ApiClient> api = ApiClient::create(ApiFlags{});
  if (!api.ok()) return names;
  api.value().set_timeout(std::chrono::milliseconds(1500));
  const auto each = [&](const char* path, const char* list, const auto& add) {
    const Result<json> answer = api.value().get(path);
    if (!answer.ok()) return;
    for (const json& item : answer.value().value(list, json::array())) add(item);
  };
  if (kind == "build") {
    each("/api/v1/builds?limit=50", "builds",
         [&](const json& build) { names.push_back(build.value("id", "")); });
  } else if (kind == "task") {
    each("/api/v1/builds?limit=10", "builds", [&](const json& build) {
      for (const json& task : build.value("tasks", json::array())) {
        names.push_back(task.value("id", ""));
      }
    });
  } else if (kind == "worker") {
    each("/api/v1/workers?limit=1000", "workers",
         [&](const json& worker) { names.push_back(worker.value("name", "")); });
  } else if (kind == "pool") {
    each("/api/v1/pools", "pools",
         [&](const json& pool) { names.push_back(pool.value("name", "")); });
  }
  return names;
}

int write_manual(const CommandNode& root, const std::filesystem::path& directory) {
  Status done = os::make_directories(directory, 0755);
  for (const auto& [name, text] : manual_pages(root, program_version())) {
    if (done.ok()) done = os::write_file(directory / name, text, 0644);
  }
  if (done.ok()) return kOk;
  complain(done.error().to_string());
  return kFailed;
}

int help(const CLI::App& root, const HelpFlags& flags) {
  if (!flags.manual_directory.empty()) {
    return write_manual(command_tree(root), flags.manual_directory);
  }
  if (flags.reference) {
    std::printf("%s", command_reference(command_tree(root)).c_str());
    return kOk;
  }
  std::printf("%s", root.help().c_str());
  return kOk;
}

}  // namespace

void add_help_commands(CLI::App& root, Invocation& invocation) {
  static HelpFlags flags;
  CLI::App* completion =
      root.add_subcommand("completion", "A script that completes commands and names as you type");
  completion->add_option("shell", flags.shell, "which shell")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->footer("Example:\n  source <(cirrus completion bash)\n");
  completion->callback([&invocation] {
    invocation.run = [] {
      std::printf("%s", completion_script(flags.shell).c_str());
      return static_cast<int>(kOk);
    };
  });

  CLI::App* manual = root.add_subcommand("help", "This overview, manual pages, or the reference");
  manual->add_option("--manual", flags.manual_directory, "write manual pages there")
      ->type_name("DIR");
  manual->add_flag("--reference", flags.reference, "print all commands in Markdown");
  manual->footer("Example:\n  cirrus help --manual man1 && man -l man1/cirrus-build.1\n");
  manual->callback(
      [&invocation, &root] { invocation.run = [&root] { return help(root, flags); }; });

  CLI::App* asked = root.add_subcommand("__complete", "What the shells ask");
  asked->group("");
  asked->set_help_flag();
  static std::vector<std::string> words;  // after `--`, so that none is a flag of this command
  asked->add_option("words", words);
  asked->callback([&invocation, &root] {
    invocation.run = [&root] {
      for (const std::string& offer : complete(command_tree(root), words, names_of)) {
        std::printf("%s\n", offer.c_str());
      }
      return static_cast<int>(kOk);
    };
  });
}

}  // namespace cirrus::cli
