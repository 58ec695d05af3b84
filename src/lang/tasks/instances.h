// SPDX-License-Identifier: MIT
// Instance kinds: where a task runs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cirrus_instances.pb.h"
#include "lang/tasks/scope.h"

namespace cirrus::lang {

/// A Dockerfile an instance takes its image from.
struct DockerfileUse {
  std::string path;
  TextMap arguments;
  yaml::Mark mark;  ///< of the `dockerfile` field
  pb::Platform platform = pb::LINUX;
  /// Sets the image where the Dockerfile stood; null if the kind builds for itself (extra kinds).
  google::protobuf::Message* holder = nullptr;
};

/// A parsed instance. `message` is heap-allocated, so `dockerfile->holder` stays valid when moved.
struct Instance {
  std::string kind;  ///< the field's name
  std::unique_ptr<google::protobuf::Message> message;
  bool extra = false;  ///< message-driven
  std::optional<DockerfileUse> dockerfile;
};

/// Parsers of the built-in kinds; `node` is the merged field. They set or remove CIRRUS_OS in the
/// scope on success. Errors: Located or Number at the offending field.
/// Source: reference CLI, instance parsers.
enum class ContainerKind { Linux, Arm, Windows };
Located<Instance> parse_container(Scope& scope, const Node& node, ContainerKind kind);
Located<Instance> parse_macos(Scope& scope, const Node& node);
Located<Instance> parse_persistent_worker(Scope& scope, const Node& node);

/// Items of `additional_containers` (a list; errors at the item or its field).
Located<pb::AdditionalContainer> parse_additional_container(Scope& scope, const Node& item);
/// `volumes`: a text or list of `source:target[:ro]`.
Located<std::vector<pb::Volume>> parse_volumes(Scope& scope, const Node& field);
/// LINUX, WINDOWS or DARWIN in any case; error at the field for anything else.
Located<pb::Platform> parse_platform(Scope& scope, const Node& field);
/// `linux`, `windows`, `darwin`.
std::string os_name(pb::Platform platform);

}  // namespace cirrus::lang
