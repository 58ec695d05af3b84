// SPDX-License-Identifier: MIT
#include "isolation/container/create_request.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/strings.h"

namespace cirrus::isolation {

namespace {
using nlohmann::json;

constexpr std::size_t kLongestName = 4096;

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool climbs(std::string_view path) {
  const std::vector<std::string> parts = split(path, '/');
  return std::find(parts.begin(), parts.end(), "..") != parts.end();
}

/// For error messages: what it is, without what a terminal or log would act on.
std::string shown(std::string_view text) {
  std::string result = shorten(text, 100);
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return result;
}

json bind_mount(const std::string& source, const std::string& target, bool read_only) {
  return {{"Type", "bind"}, {"Source", source}, {"Target", target}, {"ReadOnly", read_only}};
}

void add_limits(json& host, double cpu, std::uint64_t memory_mib) {
  if (cpu > 0) host["NanoCpus"] = static_cast<std::int64_t>(std::llround(cpu * 1e9));
  if (memory_mib > 0) host["Memory"] = memory_mib << 20U;
}

void add_defaults(json& host, const ContainerDefaults& defaults) {
  std::vector<std::string> options = defaults.security_options;
  const bool labelled = std::any_of(options.begin(), options.end(), [](const std::string& option) {
    return option.starts_with("label=");
  });
  // Otherwise SELinux keeps the container from the mounts. Source: reference worker, containers.
  if (!labelled) options.insert(options.begin(), "label=disable");
  host["SecurityOpt"] = options;
  json limits = json::array();
  for (const ContainerDefaults::Limit& limit : defaults.ulimits) {
    limits.push_back({{"Name", limit.name}, {"Soft", limit.soft}, {"Hard", limit.hard}});
  }
  if (!limits.empty()) host["Ulimits"] = limits;
}

/// The companions' ports, for the agent to wait for. Source: reference CLI, containers.
std::string ports_to_wait_for(const ContainerSpec& spec) {
  std::vector<std::string> ports;
  for (const ContainerSpec::Companion& companion : spec.companions) {
    for (const ContainerSpec::Port& port : companion.ports) {
      ports.push_back(std::to_string(port.container));
    }
  }
  return join(ports, ",");
}
}  // namespace

Status check_image_name(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == ':' || c == '/' || c == '@' || c == '-';
  };
  if (name.empty()) return error(Code::InvalidArgument, "the container has no image");
  const char first = name.front();
  const bool good_start = allowed(first) && first != '.' && first != '_' && first != ':' &&
                          first != '/' && first != '@' && first != '-';
  if (name.size() > kLongestName || !good_start || climbs(name) ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    return error(Code::InvalidArgument, "'{}' is not the name of an image", shown(name));
  }
  return {};
}

Status check_volume(const ContainerSpec::Volume& volume) {
  for (const std::string* path : {&volume.source, &volume.target}) {
    if (path->empty() || path->front() != '/' || path->size() > kLongestName || climbs(*path) ||
        has_control_character(*path)) {
      return error(Code::InvalidArgument,
                   "volume '{}:{}' is refused: both sides must be absolute paths without '..'",
                   shown(volume.source), shown(volume.target));
    }
  }
  // The kernel takes doubled slashes and `.` for nothing, so they must not hide a path from us.
  std::string target = std::filesystem::path(volume.target + "/").lexically_normal().string();
  target.erase(0, target.find_first_not_of('/') == std::string::npos
                      ? target.size() - 1
                      : target.find_first_not_of('/') - 1);
  const auto covers = [&](const std::string& path) {
    return (path + "/").starts_with(target) || target.starts_with(path + "/");
  };
  for (const char* taken :
       {ContainerPaths::kAgent, ContainerPaths::kGateway, ContainerPaths::kScratch}) {
    if (covers(taken)) {
      return error(Code::InvalidArgument, "volume target '{}' would cover the agent's own '{}'",
                   shown(volume.target), taken);
    }
  }
  return {};
}

ContainerSpec clamp(ContainerSpec spec, const EngineInfo& engine,
                    std::vector<std::string>& notices) {
  const std::uint64_t most = engine.memory_bytes >> 20U;
  const auto reduce = [&](const std::string& who, double& cpu, std::uint64_t& memory) {
    if (engine.processors > 0 && cpu > engine.processors) {
      notices.push_back(fmt::format("{}sked for {:g} CPUs, this machine has {}: limited to {}.",
                                    who, cpu, engine.processors, engine.processors));
      cpu = engine.processors;
    }
    if (most > 0 && memory > most) {
      notices.push_back(
          fmt::format("{}sked for {} MiB of memory, this machine has {} MiB: limited to that.", who,
                      memory, most));
      memory = most;
    }
  };
  reduce("A", spec.cpu, spec.memory_mib);
  for (ContainerSpec::Companion& companion : spec.companions) {
    reduce(fmt::format("Container '{}' a", companion.name), companion.cpu, companion.memory_mib);
  }
  return spec;
}

std::string create_request(const LaunchRequest& request, const ContainerSpec& spec,
                           const ContainerDefaults& defaults, const std::string& working_volume,
                           const Labels& labels) {
  json mounts = json::array();
  mounts.push_back(bind_mount(request.agent_program.string(), ContainerPaths::kAgent, true));
  mounts.push_back(bind_mount(request.guest_directory.string(), ContainerPaths::kGateway, true));
  mounts.push_back({{"Type", "volume"},
                    {"Source", working_volume},
                    {"Target", ContainerPaths::kWorkingDirectory}});
  for (const ContainerSpec::Volume& volume : spec.volumes) {
    mounts.push_back(bind_mount(volume.source, volume.target, volume.read_only));
  }
  json host = {{"Mounts", mounts},
               {"Privileged", spec.privileged},
               {"Tmpfs", {{ContainerPaths::kScratch, "rw,exec,nosuid,mode=1777"}}}};
  add_limits(host, spec.cpu, spec.memory_mib);
  add_defaults(host, defaults);
  if (!defaults.network.empty()) host["NetworkMode"] = defaults.network;
  json ports = json::object();
  json bindings = json::object();
  for (const ContainerSpec::Companion& companion : spec.companions) {
    for (const ContainerSpec::Port& port : companion.ports) {
      if (port.host == 0) continue;
      const std::string name = fmt::format("{}/tcp", port.container);
      ports[name] = json::object();
      bindings[name] = json::array({{{"HostPort", std::to_string(port.host)}}});
    }
  }
  json body = {{"Image", spec.image},
               {"Entrypoint", {ContainerPaths::kAgent, "run"}},
               {"Cmd", json::array()},
               {"WorkingDir", "/"},
               {"AttachStdin", true},
               {"OpenStdin", true},
               {"StdinOnce", true},
               {"Tty", false},
               {"Healthcheck", {{"Test", {"NONE"}}}},
               {"Labels", labels}};
  const std::string awaited = ports_to_wait_for(spec);
  if (!awaited.empty()) body["Env"] = {"CIRRUS_PORTS_WAIT_FOR=" + awaited};
  if (!bindings.empty()) {
    host["PortBindings"] = bindings;
    body["ExposedPorts"] = ports;
  }
  body["HostConfig"] = host;
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string companion_request(const ContainerSpec::Companion& companion,
                              const ContainerDefaults& defaults, const std::string& main,
                              const Labels& labels) {
  json host = {{"NetworkMode", "container:" + main}, {"Privileged", companion.privileged}};
  add_limits(host, companion.cpu, companion.memory_mib);
  add_defaults(host, defaults);
  std::vector<std::string> environment;
  for (const auto& [name, value] : companion.environment) {
    environment.push_back(name + "=" + value);
  }
  json body = {
      {"Image", companion.image}, {"Env", environment}, {"Labels", labels}, {"HostConfig", host}};
  if (!companion.command.empty()) body["Cmd"] = companion.command;
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace cirrus::isolation
