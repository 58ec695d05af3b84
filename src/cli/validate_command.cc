// SPDX-License-Identifier: MIT
// `cirrus validate`: what a configuration means, or what is wrong with it. Needs no controller.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/strings.h"
#include "cli/command.h"
#include "cli/directory_source_tree.h"
#include "lang/schema.h"
#include "lang/validate_report.h"

namespace cirrus::cli {

namespace {

struct ValidateFlags {
  std::string file;
  std::vector<std::string> environment;
  std::string affected_files;
  std::string output = "text";
  bool schema = false;
  bool reference = false;
};

/// Source: reference CLI, the variables of a local run.
std::map<std::string, std::string> local_environment() {
  return {{"CI", "true"},
          {"CONTINUOUS_INTEGRATION", "true"},
          {"CIRRUS_CI", "true"},
          {"CIRRUS_ENVIRONMENT", "CLI"},
          {"CIRRUS_USER_COLLABORATOR", "true"},
          {"CIRRUS_USER_PERMISSION", "write"}};
}

/// `.cirrus.yaml`, else `.cirrus.yml`: the order of the reference CLI.
std::string default_file() {
  std::error_code failure;
  return std::filesystem::exists(".cirrus.yaml", failure) ? ".cirrus.yaml" : ".cirrus.yml";
}

/// At most one byte more than an evaluation takes, so that endless files end. Nothing if it cannot
/// be read. `-` is standard input.
std::optional<std::string> read_configuration(const std::string& file, std::size_t limit) {
  std::error_code failure;
  std::ifstream opened;
  if (file != "-") {
    if (std::filesystem::is_directory(file, failure)) return std::nullopt;
    opened.open(file, std::ios::binary);
    if (!opened) return std::nullopt;
  }
  std::istream& stream = file == "-" ? std::cin : opened;
  std::string text(limit + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) return std::nullopt;
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return text;
}

int validate(const ValidateFlags& flags) {
  lang::EvaluateOptions options =
      flags.reference ? lang::EvaluateOptions() : lang::controller_options();
  options.environment = local_environment();
  if (flags.schema) {
    std::printf("%s\n", lang::json_schema(options).c_str());
    return kOk;
  }
  for (const std::string& pair : flags.environment) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      complain(fmt::format("-e needs NAME=VALUE, not '{}'", shorten(pair, 60)));
      return kUsage;
    }
    options.environment[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  if (!flags.affected_files.empty()) options.affected_files = split(flags.affected_files, ',');
  const std::string file = flags.file.empty() ? default_file() : flags.file;
  const std::optional<std::string> text = read_configuration(file, options.limits.max_bytes);
  if (!text) {
    complain(fmt::format("cannot read '{}': name a .cirrus.yml with -f, or '-' for standard input",
                         file));
    return kUsage;
  }
  const std::filesystem::path folder = std::filesystem::path(file).parent_path();
  const DirectorySourceTree files(folder.empty() ? "." : folder);
  const lang::Outcome outcome = lang::evaluate(*text, files, options);
  const Result<std::string> report = lang::validate_report(
      outcome, *lang::report_format(flags.output), file == "-" ? "<stdin>" : file);
  if (!report.ok()) {
    complain(report.error().to_string());
    return kUsage;
  }
  std::fwrite(report.value().data(), 1, report.value().size(), stdout);
  return lang::validate_exit_code(outcome);
}

}  // namespace

void add_validate_command(CLI::App& root, Invocation& invocation) {
  CLI::App* command = root.add_subcommand("validate", "Check a .cirrus.yml and list its tasks");
  const auto flags = std::make_shared<ValidateFlags>();
  command->add_option("-f,--file", flags->file,
                      "the file, - for standard input; default .cirrus.yaml, else .cirrus.yml");
  command
      ->add_option("-e,--environment", flags->environment,
                   "a build variable, NAME=VALUE; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--affected-files", flags->affected_files,
                      "changed files, separated by commas, for changesInclude");
  command->add_option("--output", flags->output, "text, json or sarif")
      ->check(CLI::IsMember({"text", "json", "sarif"}));
  command->add_flag("--schema", flags->schema, "print the JSON Schema for editors instead");
  command->add_flag("--reference", flags->reference,
                    "evaluate as the reference does: no fields of ours, tasks that build images");
  command->footer(
      "Examples:\n"
      "  cirrus validate\n"
      "  cirrus validate -e CIRRUS_BRANCH=main --affected-files src/a.c,README.md\n"
      "  cirrus validate --output sarif > cirrus.sarif\n");
  command->callback(
      [&invocation, flags] { invocation.run = [flags] { return validate(*flags); }; });
}

}  // namespace cirrus::cli
