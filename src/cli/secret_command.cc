// SPDX-License-Identifier: MIT
// `cirrus secret encrypt`.
#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

#include "cli/api_client.h"
#include "cli/command.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct SecretFlags {
  ApiFlags api;
  std::string repository;
  std::string output = "text";
  bool force = false;
};

int report(const Error& failure) {
  complain(failure.to_string());
  return exit_code_for(failure);
}

/// Turns the terminal's echo off while it lives.
class NoEcho {
 public:
  NoEcho() {
    if (::isatty(STDIN_FILENO) != 1 || ::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    changed_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
  }
  ~NoEcho() {
    if (changed_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  NoEcho(const NoEcho&) = delete;
  NoEcho& operator=(const NoEcho&) = delete;

 private:
  termios before_{};
  bool changed_ = false;
};

/// A line from a terminal, everything from a pipe (one newline at the end is not part of it).
std::string read_value() {
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  std::string value;
  if (terminal) {
    std::fprintf(stderr, "Value (not shown): ");
    const NoEcho quiet;
    std::getline(std::cin, value);
    std::fprintf(stderr, "\n");
    return value;
  }
  value.assign(std::istreambuf_iterator<char>(std::cin), {});
  if (value.ends_with('\n')) value.pop_back();
  if (value.ends_with('\r')) value.pop_back();
  return value;
}

int encrypt(const SecretFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  // Never an argument: those are in every list of processes and in the shell's history.
  const Result<json> sealed = api.value().post(
      "/api/v1/secrets",
      {{"repository", flags.repository}, {"value", read_value()}, {"force", flags.force}});
  if (!sealed.ok()) return report(sealed.error());
  if (flags.output == "json") {
    std::printf("%s\n", sealed.value().dump(2).c_str());
  } else {
    std::printf("%s\n", sealed.value().value("encrypted", "").c_str());
  }
  return kOk;
}

}  // namespace

void add_secret_commands(CLI::App& root, Invocation& invocation) {
  static SecretFlags flags;
  CLI::App* secret = root.add_subcommand("secret", "Values only your tasks may see");
  secret->require_subcommand(1);
  CLI::App* command = secret->add_subcommand(
      "encrypt", "Encrypt a value from standard input for the env of a .cirrus.yml");
  add_api_flags(*command, flags.api);
  command->add_option("--repo", flags.repository, "the one repository that may use it")
      ->type_name("OWNER/NAME")
      ->required();
  command->add_flag("--force", flags.force, "also values under 4 bytes, which no log can mask");
  command->add_option("--output", flags.output, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  command->footer(
      "Example:\n"
      "  printf %s \"$TOKEN\" | cirrus secret encrypt --repo acme/app\n"
      "prints ENCRYPTED[cirrus:...] to put in place of the value.\n");
  command->callback([&invocation] { invocation.run = [] { return encrypt(flags); }; });
}

}  // namespace cirrus::cli
