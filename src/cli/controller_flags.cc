// SPDX-License-Identifier: MIT
#include "cli/controller_flags.h"

#include <charconv>
#include <variant>

#include <CLI/CLI.hpp>

#include "worker/settings_reader.h"
#include "yaml/strict_map.h"

namespace cirrus::cli {

namespace {

/// One setting: a flag `--name`, a variable CIRRUS_CONTROLLER_NAME and a key `name`.
struct Setting {
  const char* name;
  std::variant<std::string ControllerFlags::*, int ControllerFlags::*, bool ControllerFlags::*>
      member;
  const char* value;  ///< what stands for it in the help
  const char* help;
  int most = 0;  ///< of a number
};

constexpr int kMostDays = 36'500;
constexpr int kMostMegabytes = 1'000'000'000;

const Setting kSettings[] = {
    {"data-dir", &ControllerFlags::data_directory, "DIR", "where state is kept"},
    {"rpc-address", &ControllerFlags::rpc_address, "HOST:PORT",
     "for workers and agents; port 0 picks one"},
    {"http-address", &ControllerFlags::http_address, "HOST:PORT",
     "for the API and git; port 0 picks one"},
    {"public-http-url", &ControllerFlags::public_http_url, "URL",
     "how tasks reach the HTTP address, if not as it is bound"},
    {"public-rpc-endpoint", &ControllerFlags::public_rpc_endpoint, "URL",
     "how workers reach the RPC address, if not as it is bound"},
    {"tls-certificate", &ControllerFlags::tls_certificate, "FILE",
     "PEM file with the chain, for both ports; taken anew when it changes"},
    {"tls-key", &ControllerFlags::tls_key, "FILE", "PEM file with the certificate's key"},
    {"allow-cleartext", &ControllerFlags::allow_cleartext, "", "serve other machines without TLS"},
    {"keep-logs", &ControllerFlags::keep_logs_days, "DAYS", "days; 0: for ever (default 90)",
     kMostDays},
    {"keep-artifacts", &ControllerFlags::keep_artifacts_days, "DAYS",
     "days; 0: for ever (default 90)", kMostDays},
    {"keep-builds", &ControllerFlags::keep_builds_days, "DAYS",
     "days that finished builds stay, with all that is theirs; 0: for ever (default 365)",
     kMostDays},
    {"most-builds", &ControllerFlags::most_builds, "NUMBER",
     "of more than this many the oldest finished ones go; 0: no limit (default 0)", 1'000'000'000},
    {"least-free", &ControllerFlags::least_free_megabytes, "MB",
     "with less free on the disk the oldest caches, artifacts and logs go (default 1024)",
     kMostMegabytes},
    {"uploads-least-free", &ControllerFlags::uploads_least_free_megabytes, "MB",
     "with less free on the disk new caches and artifacts are refused (default 512)",
     kMostMegabytes},
};

/// `data-dir` as CIRRUS_CONTROLLER_DATA_DIR.
std::string variable_of(std::string_view name) {
  std::string variable = "CIRRUS_CONTROLLER_";
  for (const char c : name) {
    variable += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  return variable;
}

Result<int> take_number(yaml::StrictMap& map, const Setting& setting, int fallback,
                        const std::string& file) {
  const yaml::Node* const node = map.take(setting.name);
  if (node == nullptr || node->is_null()) return fallback;
  const std::string text = node->is_scalar() ? node->resolved().text : "";
  int number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() ||
      number < 0 || number > setting.most) {
    return worker::at(
        file, node->mark,
        fmt::format("'{}' must be a whole number from 0 to {}", setting.name, setting.most));
  }
  return number;
}

Status take(yaml::StrictMap& map, const Setting& setting, const std::string& file,
            ControllerFlags& flags) {
  if (const auto* text = std::get_if<std::string ControllerFlags::*>(&setting.member)) {
    flags.*(*text) = CIRRUS_TRY(worker::take_text(map, setting.name, flags.*(*text), file));
  } else if (const auto* flag = std::get_if<bool ControllerFlags::*>(&setting.member)) {
    flags.*(*flag) = CIRRUS_TRY(worker::take_bool(map, setting.name, flags.*(*flag), file));
  } else {
    int& number = flags.*std::get<int ControllerFlags::*>(setting.member);
    number = CIRRUS_TRY(take_number(map, setting, number, file));
  }
  return {};
}

}  // namespace

void add_controller_flags(CLI::App& command, ControllerFlags& flags) {
  for (const Setting& setting : kSettings) {
    const std::string name = "--" + std::string(setting.name);
    CLI::Option* option = nullptr;
    if (const auto* text = std::get_if<std::string ControllerFlags::*>(&setting.member)) {
      option = command.add_option(name, flags.*(*text), setting.help);
    } else if (const auto* flag = std::get_if<bool ControllerFlags::*>(&setting.member)) {
      option = command.add_flag(name, flags.*(*flag), setting.help);
    } else {
      option = command.add_option(name, flags.*std::get<int ControllerFlags::*>(setting.member),
                                  setting.help);
      option->check(CLI::Range(0, setting.most).description(""));
    }
    option->envname(variable_of(setting.name));
    if (*setting.value != '\0') option->type_name(setting.value);
  }
  command.add_option("--ready-file", flags.ready_file, "written once everything serves")
      ->type_name("FILE");
}

Status read_controller_settings(std::string_view yaml, const std::string& file,
                                const std::function<bool(const std::string& flag)>& is_given,
                                ControllerFlags& flags) {
  const yaml::Document document = CIRRUS_TRY(yaml::parse(yaml).note("{}", file));
  if (document.root() == nullptr) return {};
  yaml::StrictMap map =
      CIRRUS_TRY(worker::open_map(*document.root(), file, "the controller's settings"));
  for (const Setting& setting : kSettings) {
    ControllerFlags aside = flags;
    ControllerFlags& into = is_given("--" + std::string(setting.name)) ? aside : flags;
    CIRRUS_TRY(take(map, setting, file, into));
  }
  return worker::close_map(map, file);
}

controller::ControllerOptions controller_options(const ControllerFlags& flags) {
  controller::ControllerOptions options;
  options.data_dir = flags.data_directory;
  options.rpc_address = flags.rpc_address;
  options.http_address = flags.http_address;
  options.public_http_url = flags.public_http_url;
  options.public_rpc_endpoint = flags.public_rpc_endpoint;
  options.tls_certificate = flags.tls_certificate;
  options.tls_key = flags.tls_key;
  options.allow_cleartext = flags.allow_cleartext;
  options.retention.logs = std::chrono::hours(24) * flags.keep_logs_days;
  options.retention.artifacts = std::chrono::hours(24) * flags.keep_artifacts_days;
  options.builds.age = std::chrono::hours(24) * flags.keep_builds_days;
  options.builds.most = flags.most_builds;
  options.retention.least_free_bytes = static_cast<std::uint64_t>(flags.least_free_megabytes)
                                       << 20U;
  options.least_free_for_uploads = static_cast<std::uint64_t>(flags.uploads_least_free_megabytes)
                                   << 20U;
  return options;
}

std::map<std::string, std::string> ready_fields(const controller::Controller& controller) {
  return {{"rpc_endpoint", controller.rpc_endpoint()},
          {"http_url", controller.http_url()},
          {"admin_token_file", controller.admin_token_file().string()},
          {"registration_token_file", controller.registration_token_file().string()}};
}

}  // namespace cirrus::cli
