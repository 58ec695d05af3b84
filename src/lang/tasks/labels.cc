// SPDX-License-Identifier: MIT
// Unique labels: for tasks of one name, what tells them apart.
#include <algorithm>
#include <set>
#include <unordered_map>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "base/strings.h"
#include "lang/tasks/dependencies.h"

namespace cirrus::lang {
namespace {

using Labels = std::set<std::string>;

void add(Labels& labels, std::string_view key, std::string_view value) {
  if (!value.empty()) labels.insert(fmt::format("{}:{}", key, value));
}

void add_dockerfile(Labels& labels, std::string_view path, const TextMap& arguments) {
  add(labels, "Dockerfile", path);
  for (const auto& [key, value] : arguments) add(labels, key, value);
}

void add_container(Labels& labels, const pb::ContainerInstance& container) {
  if (container.dockerfile().empty()) {
    add(labels, "container", container.image());
    add(labels, "os", container.os_version());
  } else {
    add_dockerfile(
        labels, container.dockerfile(),
        TextMap(container.docker_arguments().begin(), container.docker_arguments().end()));
  }
  for (const pb::AdditionalContainer& other : container.additional_containers())
    add(labels, other.name(), other.image());
}

/// The value that best describes an instance of a message-driven kind.
void add_extra(Labels& labels, const Instance& instance) {
  const google::protobuf::Message& message = *instance.message;
  for (const char* name :
       {"container", "image_family", "image", "image_name", "image_id", "template"}) {
    const google::protobuf::FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
    if (field == nullptr || field->is_repeated() ||
        field->type() != google::protobuf::FieldDescriptor::TYPE_STRING)
      continue;
    const std::string value = message.GetReflection()->GetString(message, field);
    if (value.empty()) continue;
    add(labels, instance.kind,
        std::string_view(name) == "image_family" ? "family/" + value : value);
    break;
  }
  if (instance.dockerfile)
    add_dockerfile(labels, instance.dockerfile->path, instance.dockerfile->arguments);
}

Labels labels_of(const Draft& draft) {
  Labels labels;
  if (draft.instance && draft.instance->extra) {
    add_extra(labels, *draft.instance);
  } else if (draft.instance) {
    if (const auto* container =
            dynamic_cast<const pb::ContainerInstance*>(draft.instance->message.get())) {
      add_container(labels, *container);
    }
  }
  if (draft.kind == TaskKind::Pipe) labels.insert("pipe");
  for (const auto& [key, value] : draft.environment) {
    const bool secret = value.starts_with("ENCRYPTED[") && value.ends_with("]");
    if (!secret) labels.insert(fmt::format("{}:{}", key, value));
  }
  return labels;
}

void tell_apart(std::vector<Draft*>& group) {
  std::vector<Labels> all;
  std::unordered_map<std::string_view, std::size_t> uses;
  for (const Draft* draft : group) all.push_back(labels_of(*draft));
  for (const Labels& labels : all) {
    for (const std::string& label : labels) ++uses[label];
  }
  for (std::size_t i = 0; i < group.size(); ++i) {
    for (const std::string& label : all[i]) {
      if (uses[label] < group.size()) group[i]->unique_labels.push_back(label);
    }
  }
}

}  // namespace

void assign_unique_labels(std::vector<Draft>& drafts) {
  std::unordered_map<std::string_view, std::vector<Draft*>> groups;
  for (Draft& draft : drafts) {
    if (draft.enabled) groups[draft.name].push_back(&draft);
  }
  for (auto& [name, group] : groups) {
    if (group.size() > 1) tell_apart(group);
  }
}

}  // namespace cirrus::lang
