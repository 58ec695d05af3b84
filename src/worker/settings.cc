// SPDX-License-Identifier: MIT
#include "worker/settings.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/strings.h"
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

// Checks the names of a map's keys and nothing else.
Status check_keys(const yaml::Node& node, const std::string& file, const std::string& what,
                  std::initializer_list<const char*> keys) {
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, what));
  for (const char* key : keys) (void)map.take(key);
  return close_map(map, file);
}

Status check_vm(const yaml::Node* node, const std::string& file, const char* kind) {
  if (node == nullptr) return {};
  const bool tart = std::string_view(kind) == "tart";
  if (tart) {
    return check_keys(*node, file, kind,
                      {"image", "user", "password", "port", "cpu", "memory", "softnet", "display",
                       "volumes", "nested", "disk_size", "sync_time_over_ssh"});
  }
  return check_keys(*node, file, kind,
                    {"image", "user", "password", "port", "cpu", "memory", "networking",
                     "disk_size", "bridged", "sync_time_over_ssh", "standard_output_to_logs"});
}

// Both forms: `standby: {tart: …}` and `standby: {isolation: {tart: …}, resources, warmup}`.
Status check_standby(const yaml::Node& node, const std::string& file) {
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "standby"));
  const yaml::Node* tart = map.take("tart");
  const yaml::Node* vetu = map.take("vetu");
  const yaml::Node* isolation = map.take("isolation");
  CIRRUS_TRY(take_number_map(map, "resources", file));
  if (const yaml::Node* warmup = map.take("warmup"); warmup && !warmup->is_null()) {
    CIRRUS_TRY(check_keys(*warmup, file, "warmup", {"script", "timeout"}));
  }
  CIRRUS_TRY(close_map(map, file));
  if (isolation != nullptr) {
    if (tart != nullptr || vetu != nullptr) {
      return at(file, node.mark,
                "'standby' is written either with 'isolation' or without, not both");
    }
    yaml::StrictMap kinds = CIRRUS_TRY(open_map(*isolation, file, "isolation"));
    tart = kinds.take("tart");
    vetu = kinds.take("vetu");
    CIRRUS_TRY(close_map(kinds, file));
  }
  if (tart == nullptr && vetu == nullptr) {
    return at(file, node.mark, "'standby' needs a 'tart' or 'vetu' isolation");
  }
  CIRRUS_TRY(check_vm(tart, file, "tart"));
  return check_vm(vetu, file, "vetu");
}

// What belongs to VMs is checked like everything else, and announced as having no effect while
// this worker has no VM isolation to apply it to.
Status read_vm_settings(yaml::StrictMap& map, const std::string& file,
                        std::vector<std::string>& warnings) {
  const auto present = [&](const char* key) -> const yaml::Node* {
    const yaml::Node* node = map.take(key);
    if (node == nullptr || node->is_null()) return nullptr;
    warnings.push_back(fmt::format("'{}' has no effect: this worker has no VM isolation", key));
    return node;
  };
  if (const yaml::Node* node = present("standby")) CIRRUS_TRY(check_standby(*node, file));
  if (const yaml::Node* node = present("tart-pre-pull")) {
    CIRRUS_TRY(check_keys(*node, file, "tart-pre-pull", {"images", "check-interval", "jitter"}));
  }
  if (const yaml::Node* node = present("tuning")) {
    yaml::StrictMap tuning = CIRRUS_TRY(open_map(*node, file, "tuning"));
    const yaml::Node* vetu = tuning.take("vetu");
    CIRRUS_TRY(close_map(tuning, file));
    if (vetu != nullptr) CIRRUS_TRY(check_keys(*vetu, file, "tuning.vetu", {"mtu"}));
  }
  if (const yaml::Node* node = present("resource-modifiers")) {
    if (!node->is_list()) return at(file, node->mark, "'resource-modifiers' must be a list");
    for (const yaml::Node* item : node->resolved().items) {
      yaml::StrictMap modifier = CIRRUS_TRY(open_map(*item, file, "resource-modifiers"));
      CIRRUS_TRY(take_number_map(modifier, "match", file));
      const yaml::Node* append = modifier.take("append");
      CIRRUS_TRY(close_map(modifier, file));
      if (append == nullptr) continue;
      CIRRUS_TRY(check_keys(*append, file, "append", {"run"}));
    }
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

  const yaml::Document document =
      CIRRUS_TRY(yaml::parse(yaml_text).note("{}", file.empty() ? "settings" : file));
  if (document.root() != nullptr) {
    yaml::StrictMap map = CIRRUS_TRY(open_map(*document.root(), file, "the worker's settings"));
    settings.name = CIRRUS_TRY(take_text(map, "name", settings.name, file));
    token = CIRRUS_TRY(take_text(map, "token", token, file));
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
      CIRRUS_TRY(close_map(rpc, file));
    }
    if (const yaml::Node* node = map.take("upstreams"); node && !node->is_null()) {
      if (!node->is_list()) return at(file, node->mark, "'upstreams' must be a list");
      if (!token.empty()) return at(file, node->mark, "'upstreams' and 'token' exclude each other");
      if (endpoint != rpc::kHostedEndpoint) {
        return at(file, node->mark, "'upstreams' and 'rpc.endpoint' exclude each other");
      }
      for (const yaml::Node* item : node->resolved().items) {
        yaml::StrictMap upstream = CIRRUS_TRY(open_map(*item, file, "upstreams"));
        UpstreamSettings entry;
        entry.token = Secret(CIRRUS_TRY(take_text(upstream, "token", {}, file)));
        entry.endpoint = CIRRUS_TRY(take_text(upstream, "endpoint", rpc::kHostedEndpoint, file));
        CIRRUS_TRY(close_map(upstream, file));
        if (entry.token.empty()) return at(file, item->mark, "an upstream needs a token");
        settings.upstreams.push_back(std::move(entry));
      }
    }
    if (const yaml::Node* node = map.take("security")) {
      settings.security = CIRRUS_TRY(SecurityPolicy::read(*node, file));
    }
    if (const yaml::Node* node = map.take("cancel-grace"); node && !node->is_null()) {
      Result<std::chrono::nanoseconds> grace =
          parse_duration(node->is_scalar() ? node->resolved().text : "");
      if (!grace.ok()) return at(file, node->mark, grace.error().message());
      settings.cancel_grace = std::chrono::duration_cast<std::chrono::milliseconds>(grace.value());
    }
    CIRRUS_TRY(read_vm_settings(map, file, settings.warnings));
    CIRRUS_TRY(close_map(map, file));
  }
  if (settings.name.empty()) return error(Code::InvalidArgument, "the worker needs a name: --name");
  if (settings.upstreams.empty()) {
    if (token.empty()) {
      return error(Code::InvalidArgument,
                   "the worker needs a registration token: pass --token or write `token:` in the "
                   "settings file");
    }
    settings.upstreams.push_back({Secret(token), endpoint});
  }
  for (const UpstreamSettings& upstream : settings.upstreams) {
    CIRRUS_TRY(rpc::Endpoint::parse(upstream.endpoint));
  }
  return settings;
}

}  // namespace cirrus::worker
