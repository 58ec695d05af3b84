// SPDX-License-Identifier: MIT
// `cirrus completion`, `cirrus help`, and what the shells ask (`cirrus __complete`).
#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/command_tree.h"
#include "cli/completion.h"
#include "cli/known_names.h"
#include "cli/manual.h"
#include "os/files.h"

namespace cirrus::cli {

namespace {

struct HelpFlags {
  std::string shell;
  std::string manual_directory;
  bool reference = false;
};

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
      for (const std::string& offer : complete(command_tree(root), words, known_names)) {
        std::printf("%s\n", offer.c_str());
      }
      return static_cast<int>(kOk);
    };
  });
}

}  // namespace cirrus::cli
