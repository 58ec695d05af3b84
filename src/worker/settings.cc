// SPDX-License-Identifier: MIT
#include "worker/settings.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/strings.h"
#include "os/files.h"
#include "rpc/endpoint.h"
#include "worker/settings_reader.h"

namespace cirrus::worker {

namespace {

// One CSV record: commas separate, double quotes group, two of them inside quotes are one.
Result<std::vector<std::string>> split_csv(const std::string& text) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      fields.back().push_back('"');
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back().push_back(c);
    }
  }
  if (quoted) return error(Code::InvalidArgument, "'{}' has an unclosed quote", text);
  return fields;
}

Status read_log(const yaml::Node& node, const std::string& file, LogSettings& log) {
  if (node.is_null()) return {};
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "log"));
  const yaml::Node* level = map.take("level");
  if (level != nullptr && !level->is_null()) {
    Result<LogLevel> parsed = parse_log_level(level->is_scalar() ? level->resolved().text : "");
    if (!parsed.ok()) return at(file, level->mark, parsed.error().message());
    log.level = parsed.value();
  }
  log.file = CIRRUS_TRY(take_text(map, "file", log.file, file));
  const yaml::Node* size = map.take("rotate-size");
  if (size != nullptr && !size->is_null()) {
    Result<std::uint64_t> parsed = parse_size(size->is_scalar() ? size->resolved().text : "");
    if (!parsed.ok()) return at(file, size->mark, parsed.error().message());
    log.rotate_size = parsed.value();
  }
  const yaml::Node* rotations = map.take("max-rotations");
  if (rotations != nullptr && !rotations->is_null()) {
    const std::string text = rotations->is_scalar() ? rotations->resolved().text : "";
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), log.max_rotations);
    if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
      return at(file, rotations->mark, "'max-rotations' must be a whole number of 0 or more");
    }
  }
  return close_map(map, file);
}

// `${NAME}` alone stands for a variable of the worker's environment; any other text for itself.
Result<std::string> resolve_token(const std::string& text, yaml::Mark mark,
                                  const std::string& file) {
  if (!text.starts_with("${") || !text.ends_with('}')) return text;
  const std::string name = text.substr(2, text.size() - 3);
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') {
    return at(file, mark,
              fmt::format("the token is said to be in ${{{}}}, which is not set", name));
  }
  return std::string(value);
}

// `token:` or `token-file:`; `fallback` if neither is written.
Result<std::string> take_token(yaml::StrictMap& map, std::string fallback, const std::string& file,
                               std::vector<std::string>& warnings) {
  const yaml::Node* token = map.take("token");
  const yaml::Node* path = map.take("token-file");
  const bool has_token = token != nullptr && !token->is_null();
  const bool has_path = path != nullptr && !path->is_null();
  if (has_token && has_path) {
    return at(file, path->mark, "'token' and 'token-file' exclude each other");
  }
  if (has_token) {
    const std::string text = CIRRUS_TRY(take_text(map, "token", {}, file));
    return resolve_token(text, token->mark, file);
  }
  if (!has_path) return fallback;
  const std::string name = CIRRUS_TRY(take_text(map, "token-file", {}, file));
  Result<std::string> content = os::read_file(name, 64U << 10U);
  if (!content.ok()) return at(file, path->mark, content.error().message());
  struct stat facts = {};
  if (::stat(name.c_str(), &facts) == 0 && (facts.st_mode & 0077U) != 0) {
    warnings.push_back(fmt::format(
        "'{}' can be read by other users: chmod 600 it, it holds a registration token", name));
  }
  return std::string(trim(content.value()));
}

Status take_tls(yaml::StrictMap& map, const std::string& file, TlsFiles& tls) {
  tls.ca = CIRRUS_TRY(take_text(map, "ca-file", tls.ca, file));
  tls.certificate = CIRRUS_TRY(take_text(map, "client-certificate-file", tls.certificate, file));
  tls.key = CIRRUS_TRY(take_text(map, "client-key-file", tls.key, file));
  if (tls.certificate.empty() == tls.key.empty()) return {};
  return error(Code::InvalidArgument,
               "{}:{}: 'client-certificate-file' and 'client-key-file' belong together", file,
               yaml::to_string(map.mark()));
}

template <typename Time>
Status take_time(yaml::StrictMap& map, const char* key, const std::string& file, Time& time) {
  const yaml::Node* node = map.take(key);
  if (node == nullptr || node->is_null()) return {};
  Result<std::chrono::nanoseconds> parsed =
      parse_duration(node->is_scalar() ? node->resolved().text : "");
  if (!parsed.ok()) return at(file, node->mark, parsed.error().message());
  time = std::chrono::ceil<std::chrono::milliseconds>(parsed.value());
  return {};
}

// What decides when the worker stops taking tasks.
Status read_life(yaml::StrictMap& map, const std::string& file, LifeSettings& life) {
  const bool ephemeral = CIRRUS_TRY(take_bool(map, "ephemeral", false, file));
  if (const yaml::Node* node = map.take("max-tasks"); node && !node->is_null()) {
    const std::string text = node->is_scalar() ? node->resolved().text : "";
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), life.max_tasks);
    if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
      return at(file, node->mark, "'max-tasks' must be a whole number; 0 means without limit");
    }
  }
  if (ephemeral) life.max_tasks = 1;
  std::chrono::milliseconds idle{0};
  CIRRUS_TRY(take_time(map, "exit-after-idle", file, idle));
  if (idle.count() > 0) life.exit_after_idle = idle;
  std::chrono::milliseconds drain{0};
  CIRRUS_TRY(take_time(map, "drain-timeout", file, drain));
  if (drain.count() > 0) life.drain_timeout = drain;
  return {};
}

// What tasks on this machine get.
Status read_task_settings(yaml::StrictMap& map, const std::string& file, Settings& settings) {
  CIRRUS_TRY(take_time(map, "cancel-grace", file, settings.cancel_grace));
  settings.task_user = CIRRUS_TRY(take_text(map, "task-user", {}, file));
  settings.git_mirror = CIRRUS_TRY(take_bool(map, "git-mirror", true, file));
  if (const yaml::Node* node = map.take("min-free-space"); node && !node->is_null()) {
    Result<std::uint64_t> parsed = parse_size(node->is_scalar() ? node->resolved().text : "");
    if (!parsed.ok()) return at(file, node->mark, parsed.error().message());
    settings.min_free_space = parsed.value();
  }
  if (const yaml::Node* node = map.take("environment"); node && !node->is_null()) {
    yaml::StrictMap inner = CIRRUS_TRY(open_map(*node, file, "environment"));
    const yaml::Node* inherit = inner.take("inherit");
    if (inherit != nullptr && !inherit->is_null()) {
      settings.inherited_variables = CIRRUS_TRY(take_list(inner, "inherit", file));
    }
    CIRRUS_TRY(close_map(inner, file));
  }
  return {};
}

}  // namespace

Result<std::map<std::string, std::string>> parse_labels(const std::vector<std::string>& flags) {
  std::map<std::string, std::string> labels;
  for (const std::string& flag : flags) {
    for (const std::string& pair : CIRRUS_TRY(split_csv(flag))) {
      const std::size_t equals = pair.find('=');
      if (equals == std::string::npos || equals == 0) {
        return error(Code::InvalidArgument, "label '{}' must be written key=value", pair);
      }
      labels.insert_or_assign(pair.substr(0, equals), pair.substr(equals + 1));
    }
  }
  return labels;
}

Result<std::map<std::string, double>> parse_resources(const std::vector<std::string>& flags) {
  std::map<std::string, double> resources;
  for (const auto& [name, text] : CIRRUS_TRY(parse_labels(flags).note("reading resources"))) {
    double number = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() ||
        !std::isfinite(number) || number < 0) {
      return error(Code::InvalidArgument, "resource '{}={}' must be a number of 0 or more", name,
                   text);
    }
    resources.insert_or_assign(name, number);
  }
  return resources;
}

Result<std::uint64_t> parse_size(std::string_view text) {
  const auto failed = [&] {
    return error(Code::InvalidArgument, "'{}' is no size: write it like 640 KB or 100 MiB", text);
  };
  std::string digits;
  const std::string_view trimmed = trim(text);
  std::size_t i = 0;
  for (; i < trimmed.size(); ++i) {
    const char c = trimmed[i];
    if (c == ',') continue;
    if ((c < '0' || c > '9') && c != '.') break;
    digits.push_back(c);
  }
  double number = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) {
    return failed();
  }
  const std::string unit = to_lower(trim(trimmed.substr(i)));
  static const std::map<std::string, double, std::less<>> kUnits{{"", 1},
                                                                 {"b", 1},
                                                                 {"k", 1e3},
                                                                 {"kb", 1e3},
                                                                 {"m", 1e6},
                                                                 {"mb", 1e6},
                                                                 {"g", 1e9},
                                                                 {"gb", 1e9},
                                                                 {"t", 1e12},
                                                                 {"tb", 1e12},
                                                                 {"ki", 1024},
                                                                 {"kib", 1024},
                                                                 {"mi", 1048576},
                                                                 {"mib", 1048576},
                                                                 {"gi", 1073741824},
                                                                 {"gib", 1073741824},
                                                                 {"ti", 1099511627776},
                                                                 {"tib", 1099511627776}};
  const auto found = kUnits.find(unit);
  if (found == kUnits.end() || number * found->second > 9e18) return failed();
  return static_cast<std::uint64_t>(number * found->second);
}

std::string name_from_host(std::string host) {
  for (const std::string_view suffix : {".lan", ".local"}) {
    if (host.ends_with(suffix)) host.resize(host.size() - suffix.size());
  }
  return host;
}

Result<Settings> make_settings(const Flags& flags, std::string_view yaml_text,
                               const std::string& file, const std::string& default_name) {
  Settings settings;
  settings.name = flags.name.value_or(default_name);
  std::string token = flags.token ? flags.token->reveal() : "";
  std::string endpoint = flags.endpoint.value_or(rpc::kHostedEndpoint);
  settings.labels = flags.labels;
  settings.resources = flags.resources;
  settings.life = flags.life;
  settings.metrics_address = flags.metrics_address.value_or("");
  TlsFiles tls;

  const yaml::Document document =
      CIRRUS_TRY(yaml::parse(yaml_text).note("{}", file.empty() ? "settings" : file));
  if (document.root() != nullptr) {
    yaml::StrictMap map = CIRRUS_TRY(open_map(*document.root(), file, "the worker's settings"));
    settings.name = CIRRUS_TRY(take_text(map, "name", settings.name, file));
    token = CIRRUS_TRY(take_token(map, token, file, settings.warnings));
    if (const auto labels = CIRRUS_TRY(take_text_map(map, "labels", file))) {
      if (map.take("labels")->is_null()) settings.labels.clear();
      for (const auto& [key, value] : *labels) settings.labels.insert_or_assign(key, value);
    }
    if (const auto resources = CIRRUS_TRY(take_number_map(map, "resources", file))) {
      if (map.take("resources")->is_null()) settings.resources.clear();
      for (const auto& [key, value] : *resources) settings.resources.insert_or_assign(key, value);
    }
    if (const yaml::Node* node = map.take("log")) CIRRUS_TRY(read_log(*node, file, settings.log));
    if (const yaml::Node* node = map.take("rpc"); node && !node->is_null()) {
      yaml::StrictMap rpc = CIRRUS_TRY(open_map(*node, file, "rpc"));
      endpoint = CIRRUS_TRY(take_text(rpc, "endpoint", endpoint, file));
      CIRRUS_TRY(take_tls(rpc, file, tls));
      CIRRUS_TRY(close_map(rpc, file));
    }
    // Before the upstreams: what `rpc:` says of TLS holds for all of them.
    if (const yaml::Node* node = map.take("upstreams"); node && !node->is_null()) {
      if (!node->is_list()) return at(file, node->mark, "'upstreams' must be a list");
      if (!token.empty()) return at(file, node->mark, "'upstreams' and 'token' exclude each other");
      if (endpoint != rpc::kHostedEndpoint) {
        return at(file, node->mark, "'upstreams' and 'rpc.endpoint' exclude each other");
      }
      for (const yaml::Node* item : node->resolved().items) {
        yaml::StrictMap upstream = CIRRUS_TRY(open_map(*item, file, "upstreams"));
        UpstreamSettings entry;
        entry.token = Secret(CIRRUS_TRY(take_token(upstream, {}, file, settings.warnings)));
        entry.tls = tls;
        CIRRUS_TRY(take_tls(upstream, file, entry.tls));
        entry.endpoint = CIRRUS_TRY(take_text(upstream, "endpoint", rpc::kHostedEndpoint, file));
        CIRRUS_TRY(close_map(upstream, file));
        if (entry.token.empty()) return at(file, item->mark, "an upstream needs a token");
        settings.upstreams.push_back(std::move(entry));
      }
    }
    if (const yaml::Node* node = map.take("security")) {
      settings.security = CIRRUS_TRY(SecurityPolicy::read(*node, file));
    }
    CIRRUS_TRY(read_life(map, file, settings.life));
    CIRRUS_TRY(read_task_settings(map, file, settings));
    settings.metrics_address =
        CIRRUS_TRY(take_text(map, "metrics-address", settings.metrics_address, file));
    settings.data_directory = CIRRUS_TRY(take_text(map, "data-dir", {}, file));
    settings.container = CIRRUS_TRY(take_container_settings(map, file));
    settings.vm = CIRRUS_TRY(take_vm_settings(map, file));
    CIRRUS_TRY(close_map(map, file));
    // Only now: everything was read strictly, so no alias leads into itself.
    settings.written = written_keys(*document.root());
  }
  if (settings.name.empty()) return error(Code::InvalidArgument, "the worker needs a name: --name");
  if (settings.upstreams.empty()) {
    if (token.empty()) {
      return error(Code::InvalidArgument,
                   "the worker needs a registration token: pass --token or --token-file, or write "
                   "`token:` in the settings file");
    }
    settings.upstreams.push_back({Secret(token), endpoint, tls});
  }
  for (const UpstreamSettings& upstream : settings.upstreams) {
    CIRRUS_TRY(rpc::Endpoint::parse(upstream.endpoint));
  }
  return settings;
}

}  // namespace cirrus::worker
