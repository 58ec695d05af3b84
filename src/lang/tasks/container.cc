// SPDX-License-Identifier: MIT
// The kinds that are one container with companions, and macOS machines.
#include <algorithm>
#include <cctype>

#include "base/strings.h"
#include "lang/expand/units.h"
#include "lang/tasks/environment.h"
#include "lang/tasks/instances.h"
#include "lang/tasks/shell_words.h"

namespace cirrus::lang {
namespace {

// Source: reference CLI, instance defaults.
constexpr float kCpu = 2;
constexpr std::uint32_t kMemory = 4096;
constexpr float kAdditionalCpu = 0.5;
constexpr std::uint32_t kAdditionalMemory = 512;
constexpr std::int64_t kMaxPort = 65535;

Located<pb::PortMapping> parse_port(const Node& field, std::string_view text) {
  pb::PortMapping result;
  const std::vector<std::string> parts = split(text, ':');
  const Result<std::int64_t> container = parse_integer(parts.back(), 0, kMaxPort);
  const Result<std::int64_t> host = parse_integer(parts.front(), 0, kMaxPort);
  if (parts.size() > 2 || !container.ok() || !host.ok()) {
    return error_at(field,
                    fmt::format("'{}' is not a port, nor host:container", shorten(text, 40)));
  }
  result.set_container_port(static_cast<std::uint32_t>(container.value()));
  if (parts.size() == 2) result.set_host_port(static_cast<std::uint32_t>(host.value()));
  return result;
}

Located<void> add_ports(Scope& scope, const Node& field, pb::AdditionalContainer& result) {
  const std::vector<std::string> ports =
      field.name == "port" ? std::vector<std::string>{CIRRUS_TRY(scope.expanded(field))}
                           : CIRRUS_TRY(scope.texts(field));
  for (const std::string& port : ports) *result.add_ports() = CIRRUS_TRY(parse_port(field, port));
  return {};
}

// Known fields, for hints at misspelt ones. Those without an effect are the hosted service's.
const FieldNames kContainerFields = {
    "image",      "dockerfile",      "docker_arguments",   "cpu",           "memory",
    "os_version", "registry_config", "use_in_memory_disk", "use_static_ip", "additional_containers",
    "kvm",        "greedy",          "architecture",       "platform"};
const FieldNames kAdditionalFields = {
    "name",      "image", "port",        "ports",   "cpu",
    "memory",    "env",   "environment", "command", "readiness_command",
    "privileged"};
const FieldNames kMacFields = {"image", "user", "password", "cpu", "memory"};

bool letters_only(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; });
}

}  // namespace

std::string os_name(pb::Platform platform) {
  return to_lower(pb::Platform_Name(platform));
}

Located<pb::Platform> parse_platform(Scope& scope, const Node& field) {
  const std::string text = to_lower(CIRRUS_TRY(scope.expanded(field)));
  for (const pb::Platform platform : {pb::LINUX, pb::WINDOWS, pb::DARWIN}) {
    if (text == os_name(platform)) return platform;
  }
  return error_at(
      field, fmt::format("unknown platform '{}': use linux, windows or darwin", shorten(text, 40)));
}

Located<pb::AdditionalContainer> parse_additional_container(Scope& scope, const Node& item) {
  scope.expect_fields(item, kAdditionalFields);
  pb::AdditionalContainer result;
  bool has_image = false;
  if (item.child("port") != nullptr && item.child("ports") != nullptr) {
    return error_at(item, "an additional container takes 'port' or 'ports', not both");
  }
  for (const Node* child : fields_of(item)) {
    if (child->name == "name") {
      const std::string name = CIRRUS_TRY(scope.expanded(*child));
      if (!letters_only(name)) {
        return error_at(*child, fmt::format("container name '{}' may consist of letters only",
                                            shorten(name, 40)));
      }
      if (name == "main")
        return error_at(*child, "container name 'main' is taken by the task's own container");
      result.set_name(name);
    } else if (child->name == "image") {
      result.set_image(CIRRUS_TRY(scope.expanded(*child)));
      has_image = true;
    } else if (child->name == "port" || child->name == "ports") {
      CIRRUS_TRY(add_ports(scope, *child, result));
    } else if (child->name == "cpu") {
      result.set_cpu(CIRRUS_TRY(scope.decimal32(*child)));
    } else if (child->name == "memory") {
      result.set_memory(CIRRUS_TRY(scope.megabytes(*child)));
    } else if (child->name == "env" || child->name == "environment") {
      for (const auto& [key, value] : CIRRUS_TRY(parse_environment(*child)))
        (*result.mutable_environment())[key] = value;
    } else if (child->name == "command") {
      const Result<std::vector<std::string>> words =
          shell_words(CIRRUS_TRY(scope.expanded(*child)));
      if (!words.ok())
        return error_at(*child, fmt::format("'command': {}", words.error().message()));
      result.mutable_command()->Assign(words.value().begin(), words.value().end());
    } else if (child->name == "readiness_command") {
      const std::vector<std::string> lines = CIRRUS_TRY(scope.raw_texts(*child));
      result.mutable_readiness_command()->Assign(lines.begin(), lines.end());
    } else if (child->name == "privileged") {
      result.set_privileged(CIRRUS_TRY(scope.condition(*child)));
    }
  }
  if (!has_image) return error_at(item, "an additional container needs an 'image'");
  if (result.cpu() == 0) result.set_cpu(kAdditionalCpu);
  if (result.memory() == 0) result.set_memory(kAdditionalMemory);
  return result;
}

Located<Instance> parse_container(Scope& scope, const Node& node, ContainerKind kind) {
  scope.expect_fields(node, kContainerFields);
  const bool windows = kind == ContainerKind::Windows;
  auto message = std::make_unique<pb::ContainerInstance>();
  std::optional<DockerfileUse> dockerfile;
  TextMap arguments;
  if (windows) message->set_os_version("2019");
  for (const Node* child : fields_of(node)) {
    if (child->name == "image") {
      message->set_image(CIRRUS_TRY(scope.expanded(*child)));
      dockerfile.reset();
    } else if (child->name == "dockerfile") {
      dockerfile = DockerfileUse{CIRRUS_TRY(scope.expanded(*child)), {}, child->mark};
    } else if (child->name == "docker_arguments") {
      arguments = CIRRUS_TRY(
          scope.text_map(*child, /*lists_allowed=*/!windows, /*expand_values=*/!windows));
    } else if (child->name == "cpu") {
      message->set_cpu(CIRRUS_TRY(scope.decimal32(*child)));
    } else if (child->name == "memory") {
      message->set_memory(CIRRUS_TRY(scope.megabytes(*child)));
    } else if (child->name == "os_version" && windows) {
      message->set_os_version(CIRRUS_TRY(scope.expanded(*child)));
    } else if (child->name == "additional_containers" && !windows) {
      if (!child->is_list()) return wrong_kind(*child, "a list");
      for (const Node* item : child->children) {
        *message->add_additional_containers() =
            CIRRUS_TRY(parse_additional_container(scope, *item));
      }
    }
  }
  if (message->cpu() == 0) message->set_cpu(kCpu);
  if (message->memory() == 0) message->set_memory(kMemory);
  message->set_platform(windows ? pb::WINDOWS : pb::LINUX);
  if (kind == ContainerKind::Arm) message->set_architecture(pb::ARM64);
  if (dockerfile && dockerfile->path.empty()) dockerfile.reset();
  if (dockerfile) {
    dockerfile->arguments = arguments;
    dockerfile->platform = message->platform();
    dockerfile->holder = message.get();
    message->set_dockerfile(dockerfile->path);
    for (const auto& [key, value] : arguments) (*message->mutable_docker_arguments())[key] = value;
  }
  scope.set_variable("CIRRUS_OS", os_name(message->platform()));
  return Instance{std::string(node.name), std::move(message), false, std::move(dockerfile)};
}

Located<Instance> parse_macos(Scope& scope, const Node& node) {
  constexpr std::uint32_t kMacCpu = 4;
  constexpr std::uint32_t kMacMemory = 8192;
  constexpr std::int64_t kMaxCpu = 65535;
  scope.expect_fields(node, kMacFields);
  auto message = std::make_unique<pb::MacOSInstance>();
  message->set_user("admin");
  message->set_password("admin");
  message->set_cpu(kMacCpu);
  message->set_memory(kMacMemory);
  for (const Node* child : fields_of(node)) {
    if (child->name == "image") {
      message->set_image(CIRRUS_TRY(scope.expanded(*child)));
    } else if (child->name == "user") {
      message->set_user(CIRRUS_TRY(scope.expanded(*child)));
    } else if (child->name == "password") {
      message->set_password(CIRRUS_TRY(scope.expanded(*child)));
    } else if (child->name == "cpu") {
      Located<std::int64_t> cpu = scope.integer(*child, 0, kMaxCpu);
      if (!cpu.ok()) {
        ConfigError failure = cpu.error();
        if (failure.kind == ErrorKind::Located && child->is_scalar())
          failure.kind = ErrorKind::Number;
        return failure;
      }
      message->set_cpu(static_cast<std::uint32_t>(cpu.value()));
    } else if (child->name == "memory") {
      message->set_memory(CIRRUS_TRY(scope.megabytes(*child)));
    }
  }
  scope.set_variable("CIRRUS_OS", "darwin");
  return Instance{std::string(node.name), std::move(message), false, std::nullopt};
}

}  // namespace cirrus::lang
