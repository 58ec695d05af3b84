// SPDX-License-Identifier: MIT
// Tasks for the user's own machines: labels, resources and the isolation to run in.
#include "base/strings.h"
#include "lang/expand/units.h"
#include "lang/tasks/instances.h"

namespace cirrus::lang {
namespace {

constexpr std::int64_t kMax16 = 65535;
constexpr std::int64_t kMax32 = 4294967295;

// Known fields, for hints at misspelt ones.
const FieldNames kWorkerFields = {"labels", "resources", "isolation"};
const FieldNames kIsolationFields = {"none", "container", "tart", "vetu", "parallels"};
const FieldNames kParallelsFields = {"image", "user", "password", "platform"};
const FieldNames kContainerFields = {"image",  "dockerfile", "docker_arguments", "cpu",
                                     "memory", "volumes",    "platform"};
const FieldNames kTartFields = {"image",   "user",    "password", "port",   "cpu",      "memory",
                                "softnet", "display", "volumes",  "nested", "disk_size"};
const FieldNames kTartVolumeFields = {"name", "source", "target", "readonly"};
const FieldNames kVetuFields = {"image", "user",   "password",   "port",
                                "cpu",   "memory", "networking", "disk_size"};

/// The isolation being read; of several kinds the last one in document order stays.
struct Reading {
  pb::Isolation isolation;
  std::optional<DockerfileUse> dockerfile;
  std::optional<std::string> os;  ///< what CIRRUS_OS becomes, if the kind says so
};

Located<pb::Isolation::Parallels> parse_parallels(Scope& scope, const Node& node) {
  scope.expect_fields(node, kParallelsFields);
  pb::Isolation::Parallels result;
  for (const Node* child : fields_of(node)) {
    if (child->name == "image") result.set_image(CIRRUS_TRY(scope.expanded(*child)));
    if (child->name == "user") result.set_user(CIRRUS_TRY(scope.expanded(*child)));
    if (child->name == "password") result.set_password(CIRRUS_TRY(scope.expanded(*child)));
    if (child->name == "platform") result.set_platform(CIRRUS_TRY(parse_platform(scope, *child)));
  }
  return result;
}

Located<void> parse_container_isolation(Scope& scope, const Node& node, Reading& reading) {
  constexpr float kCpu = 2;
  constexpr std::uint32_t kMemory = 4096;
  scope.expect_fields(node, kContainerFields);
  pb::Isolation::Container& result = *reading.isolation.mutable_container();
  TextMap arguments;
  for (const Node* child : fields_of(node)) {
    if (child->name == "image") {
      result.set_image(CIRRUS_TRY(scope.expanded(*child)));
      reading.dockerfile.reset();
    } else if (child->name == "dockerfile") {
      reading.dockerfile = DockerfileUse{CIRRUS_TRY(scope.expanded(*child)), {}, child->mark};
      if (scope.variable("CIRRUS_ARCH").empty()) {
        ConfigError failure =
            error_at(*child, "a Dockerfile needs to know the architecture to build for");
        failure.hint = "set it for the task: env: {CIRRUS_ARCH: amd64} or arm64";
        return failure;
      }
    } else if (child->name == "docker_arguments") {
      arguments =
          CIRRUS_TRY(scope.text_map(*child, /*lists_allowed=*/true, /*expand_values=*/true));
    } else if (child->name == "cpu") {
      result.set_cpu(CIRRUS_TRY(scope.decimal32(*child)));
    } else if (child->name == "memory") {
      result.set_memory(CIRRUS_TRY(scope.megabytes(*child)));
    } else if (child->name == "volumes") {
      result.clear_volumes();
      for (pb::Volume& volume : CIRRUS_TRY(parse_volumes(scope, *child)))
        *result.add_volumes() = std::move(volume);
    } else if (child->name == "platform") {
      result.set_platform(CIRRUS_TRY(parse_platform(scope, *child)));
    }
  }
  if (result.cpu() == 0) result.set_cpu(kCpu);
  if (result.memory() == 0) result.set_memory(kMemory);
  if (reading.dockerfile && reading.dockerfile->path.empty()) reading.dockerfile.reset();
  if (!reading.dockerfile) return {};
  reading.dockerfile->arguments = arguments;
  reading.dockerfile->platform = result.platform();
  result.set_dockerfile(reading.dockerfile->path);
  for (const auto& [key, value] : arguments) (*result.mutable_docker_arguments())[key] = value;
  return {};
}

Located<pb::Isolation::Tart::Volume> parse_tart_volume(Scope& scope, const Node& item) {
  scope.expect_fields(item, kTartVolumeFields);
  pb::Isolation::Tart::Volume result;
  bool has_source = false;
  for (const Node* child : fields_of(item)) {
    if (child->name == "name") result.set_name(CIRRUS_TRY(scope.expanded(*child)));
    if (child->name == "target") result.set_target(CIRRUS_TRY(scope.expanded(*child)));
    if (child->name == "readonly") result.set_read_only(CIRRUS_TRY(scope.condition(*child)));
    if (child->name == "source") {
      result.set_source(CIRRUS_TRY(scope.expanded(*child)));
      has_source = true;
    }
  }
  if (!has_source) return error_at(item, "a volume needs a 'source'");
  return result;
}

Located<std::uint32_t> whole(Scope& scope, const Node& field, std::int64_t high) {
  return static_cast<std::uint32_t>(CIRRUS_TRY(scope.integer(field, 0, high)));
}

/// Reads a field that both kinds of VMs have. Returns whether it is one of those.
template <typename Vm>
Located<bool> read_vm_field(Scope& scope, const Node& field, Vm& result) {
  if (field.name == "image") {
    result.set_image(CIRRUS_TRY(scope.expanded(field)));
  } else if (field.name == "user") {
    result.set_user(CIRRUS_TRY(scope.expanded(field)));
  } else if (field.name == "password") {
    result.set_password(CIRRUS_TRY(scope.expanded(field)));
  } else if (field.name == "port") {
    result.set_port(CIRRUS_TRY(whole(scope, field, kMax16)));
  } else if (field.name == "cpu") {
    result.set_cpu(CIRRUS_TRY(whole(scope, field, kMax32)));
  } else if (field.name == "memory") {
    result.set_memory(CIRRUS_TRY(scope.megabytes(field)));
  } else {
    return false;
  }
  return true;
}

Located<pb::Isolation::Tart> parse_tart(Scope& scope, const Node& node) {
  scope.expect_fields(node, kTartFields);
  const bool ours = scope.session().options.our_extensions;
  pb::Isolation::Tart result;
  result.set_user("admin");
  result.set_password("admin");
  for (const Node* child : fields_of(node)) {
    if (CIRRUS_TRY(read_vm_field(scope, *child, result))) continue;
    if (child->name == "softnet") {
      result.set_softnet(CIRRUS_TRY(scope.condition(*child)));
    } else if (child->name == "display") {
      result.set_display(CIRRUS_TRY(scope.expanded(*child)));
    } else if (child->name == "volumes") {
      if (!child->is_list()) return wrong_kind(*child, "a list");
      for (const Node* item : child->children)
        *result.add_volumes() = CIRRUS_TRY(parse_tart_volume(scope, *item));
    } else if (child->name == "nested" && ours) {
      result.set_nested(CIRRUS_TRY(scope.condition(*child)));
    } else if (child->name == "disk_size" && ours) {
      result.set_disk_size(CIRRUS_TRY(whole(scope, *child, kMax16)));
    }
  }
  return result;
}

Located<pb::Isolation::Vetu> parse_vetu(Scope& scope, const Node& node) {
  scope.expect_fields(node, kVetuFields);
  const bool ours = scope.session().options.our_extensions;
  pb::Isolation::Vetu result;
  result.set_user("admin");
  result.set_password("admin");
  for (const Node* child : fields_of(node)) {
    if (CIRRUS_TRY(read_vm_field(scope, *child, result))) continue;
    if (child->name == "disk_size") {
      result.set_disk_size(CIRRUS_TRY(whole(scope, *child, kMax16)));
    } else if (child->name == "networking") {
      const Node* bridged = ours ? child->child("bridged") : nullptr;
      if (child->child("host") != nullptr) {
        result.mutable_host();
      } else if (bridged != nullptr) {
        const Node* interface = bridged->child("interface");
        if (interface == nullptr)
          return error_at(*bridged, "bridged networking needs an 'interface'");
        result.mutable_bridged()->set_interface(CIRRUS_TRY(scope.expanded(*interface)));
      } else {
        ConfigError failure = error_at(*child, "unknown kind of networking");
        failure.hint = "write networking: {host: {}}, or leave it out for the default";
        return failure;
      }
    }
  }
  return result;
}

Located<Reading> parse_isolation(Scope& scope, const Node& node) {
  scope.expect_fields(node, kIsolationFields);
  Reading reading;
  for (const Node* child : fields_of(node)) {
    // Every known kind is read, so that mistakes show even where a later kind wins.
    if (child->name == "none") {
      scope.expect_map(*child);
      reading = {};
      reading.isolation.mutable_none();
    } else if (child->name == "parallels") {
      reading = {};
      *reading.isolation.mutable_parallels() = CIRRUS_TRY(parse_parallels(scope, *child));
      reading.os = os_name(reading.isolation.parallels().platform());
    } else if (child->name == "container") {
      reading = {};
      CIRRUS_TRY(parse_container_isolation(scope, *child, reading));
    } else if (child->name == "tart") {
      reading = {};
      *reading.isolation.mutable_tart() = CIRRUS_TRY(parse_tart(scope, *child));
      reading.os = "darwin";
    } else if (child->name == "vetu") {
      reading = {};
      *reading.isolation.mutable_vetu() = CIRRUS_TRY(parse_vetu(scope, *child));
    }
  }
  return reading;
}

}  // namespace

Located<std::vector<pb::Volume>> parse_volumes(Scope& scope, const Node& field) {
  if (field.is_map()) return wrong_kind(field, "a text or a list of texts");
  std::vector<pb::Volume> result;
  for (const std::string& text : CIRRUS_TRY(scope.texts(field))) {
    const std::vector<std::string> parts = split(text, ':');
    const bool read_only = parts.size() == 3 && parts[2] == "ro";
    if (parts.size() != 2 && !read_only) {
      return error_at(field, fmt::format("volume '{}' must be source:target or source:target:ro",
                                         shorten(text, 60)));
    }
    pb::Volume volume;
    volume.set_source(parts[0]);
    volume.set_target(parts[1]);
    volume.set_read_only(read_only);
    result.push_back(std::move(volume));
  }
  return result;
}

Located<Instance> parse_persistent_worker(Scope& scope, const Node& node) {
  scope.expect_fields(node, kWorkerFields);
  auto message = std::make_unique<pb::PersistentWorkerInstance>();
  std::optional<Reading> reading;
  for (const Node* child : fields_of(node)) {
    if (child->name == "labels") {
      for (const auto& [key, value] : CIRRUS_TRY(scope.text_map(*child, true, true)))
        (*message->mutable_labels())[key] = value;
    } else if (child->name == "resources") {
      if (!child->is_map()) return wrong_kind(*child, "a map");
      for (const Node* entry : child->children) {
        (*message->mutable_resources())[std::string(entry->name)] =
            CIRRUS_TRY(scope.decimal(*entry, ErrorKind::Located));
      }
    } else if (child->name == "isolation") {
      reading = CIRRUS_TRY(parse_isolation(scope, *child));
      if (reading->isolation.type_case() == pb::Isolation::TYPE_NOT_SET) {
        scope.session().warn(*child,
                             "this isolation is empty and no worker can run it: name none, "
                             "container, tart, vetu or parallels");
      }
    }
  }
  Instance result{std::string(node.name), nullptr, false, std::nullopt};
  if (!reading) {
    scope.remove_variable("CIRRUS_OS");
  } else {
    if (reading->os) scope.set_variable("CIRRUS_OS", *reading->os);
    *message->mutable_isolation() = std::move(reading->isolation);
    result.dockerfile = std::move(reading->dockerfile);
    if (result.dockerfile)
      result.dockerfile->holder = message->mutable_isolation()->mutable_container();
  }
  result.message = std::move(message);
  return result;
}

}  // namespace cirrus::lang
