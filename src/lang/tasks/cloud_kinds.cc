// SPDX-License-Identifier: MIT
// The definitions of these messages were never public. What follows carries the fields that the
// public guide, the public schema and public configurations show; numbers are ours, as nobody else
// ever sees these messages. `gke_container` has its original message name, which is known.
#include "lang/tasks/cloud_kinds.h"

#include <vector>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include "base/check.h"
#include "cirrus_instances.pb.h"

namespace cirrus::lang {
namespace {

using google::protobuf::DescriptorProto;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptorProto;

constexpr const char* kPackage = "org.cirruslabs.ci.services.gcp";
constexpr const char* kContract = ".org.cirruslabs.ci.services.cirruscigrpc.";

enum class Type {
  Text,
  Texts,
  Flag,
  Number,
  Amount,
  TextMap,
  Platform,
  Architecture,
  Containers,
  SelectorTerms,
  Filters,
  Devices
};

struct Field {
  const char* name;
  Type type = Type::Text;
};

struct Kind {
  std::vector<const char*> keys;
  const char* message;
  std::vector<Field> fields;
};

std::vector<Kind> kinds() {
  const std::vector<Field> gce = {{"image_project"},
                                  {"image_family"},
                                  {"image_name"},
                                  {"platform", Type::Platform},
                                  {"architecture", Type::Architecture},
                                  {"zone"},
                                  {"type"},
                                  {"cpu", Type::Amount},
                                  {"memory", Type::Number},
                                  {"disk", Type::Number},
                                  {"use_ssd", Type::Flag},
                                  {"preemptible", Type::Flag},
                                  {"spot", Type::Flag},
                                  {"scopes", Type::Texts},
                                  {"hostname"},
                                  {"enable_nested_virtualization", Type::Flag},
                                  {"gcp_credentials"}};
  std::vector<Field> gce_container = gce;
  gce_container.insert(gce_container.end(),
                       {{"container"}, {"additional_containers", Type::Containers}});
  return {
      {{"freebsd_instance"},
       "FreeBSDInstance",
       {{"image"},
        {"image_family"},
        {"image_name"},
        {"cpu", Type::Amount},
        {"memory", Type::Number},
        {"disk", Type::Number},
        {"use_static_ip", Type::Flag}}},
      {{"compute_engine_instance"},
       "ComputeEngineInstance",
       {{"image_project"},
        {"image"},
        {"platform", Type::Platform},
        {"architecture", Type::Architecture},
        {"cpu", Type::Amount},
        {"memory", Type::Number},
        {"disk", Type::Number},
        {"nested_virtualization", Type::Flag}}},
      {{"osx_instance"}, "OSXInstance", {{"image"}}},
      {{"gce_instance"}, "GCEInstance", gce},
      {{"gce_container"}, "GCEContainer", gce_container},
      {{"gke_container"},
       "GKEContainer",
       {{"image"},
        {"dockerfile"},
        {"docker_arguments", Type::TextMap},
        {"builder_image_name"},
        {"builder_image_project"},
        {"cluster_name"},
        {"zone"},
        {"location"},
        {"namespace"},
        {"cpu", Type::Amount},
        {"memory", Type::Number},
        {"platform", Type::Platform},
        {"privileged", Type::Flag},
        {"registry_config"},
        {"use_in_memory_disk", Type::Flag},
        {"nodeSelectorTerms", Type::SelectorTerms},
        {"additional_containers", Type::Containers},
        {"gcp_credentials"}}},
      {{"ec2_instance"},
       "EC2Instance",
       {{"image"},
        {"image_owners", Type::Texts},
        {"type"},
        {"region"},
        {"platform", Type::Platform},
        {"architecture", Type::Architecture},
        {"spot", Type::Flag},
        {"subnet_ids", Type::Texts},
        {"subnet_filters", Type::Filters},
        {"block_device_mappings", Type::Devices},
        {"aws_credentials"}}},
      {{"eks_container", "eks_instance"},
       "EKSContainer",
       {{"image"},
        {"dockerfile"},
        {"docker_arguments", Type::TextMap},
        {"cluster_name"},
        {"region"},
        {"namespace"},
        {"cpu", Type::Amount},
        {"memory", Type::Number},
        {"nodeSelectorTerms", Type::SelectorTerms},
        {"builder_image"},
        {"builder_image_owners", Type::Texts},
        {"builder_role"},
        {"builder_instance_type"},
        {"builder_subnet_ids", Type::Texts},
        {"builder_subnet_filters", Type::Filters},
        {"architecture", Type::Architecture},
        {"privileged", Type::Flag},
        {"registry_config"},
        {"use_in_memory_disk", Type::Flag},
        {"additional_containers", Type::Containers},
        {"aws_credentials"}}},
      {{"azure_container_instance"},
       "AzureContainerInstance",
       {{"image"},
        {"resource_group"},
        {"region"},
        {"platform", Type::Platform},
        {"cpu", Type::Amount},
        {"memory", Type::Number},
        {"azure_credentials"}}},
      {{"oke_container", "oke_instance"},
       "OKEContainer",
       {{"cluster_id"},
        {"image"},
        {"cpu", Type::Amount},
        {"memory", Type::Number},
        {"nodeSelectorTerms", Type::SelectorTerms},
        {"additional_containers", Type::Containers},
        {"oracle_credentials"}}},
  };
}

FieldDescriptorProto& add_field(DescriptorProto& message, const std::string& name) {
  FieldDescriptorProto& field = *message.add_field();
  field.set_name(name);
  field.set_number(message.field_size());
  field.set_label(FieldDescriptorProto::LABEL_OPTIONAL);
  field.set_type(FieldDescriptorProto::TYPE_STRING);
  return field;
}

void refer(FieldDescriptorProto& field, FieldDescriptorProto::Type type, const std::string& name,
           bool repeated) {
  field.set_type(type);
  field.set_type_name(name);
  if (repeated) field.set_label(FieldDescriptorProto::LABEL_REPEATED);
}

void add_typed_field(DescriptorProto& message, const Field& described) {
  FieldDescriptorProto& field = add_field(message, described.name);
  const std::string package = std::string(".") + kPackage + ".";
  switch (described.type) {
    case Type::Text: return;
    case Type::Texts: field.set_label(FieldDescriptorProto::LABEL_REPEATED); return;
    case Type::Flag: field.set_type(FieldDescriptorProto::TYPE_BOOL); return;
    case Type::Number: field.set_type(FieldDescriptorProto::TYPE_UINT32); return;
    case Type::Amount: field.set_type(FieldDescriptorProto::TYPE_FLOAT); return;
    case Type::Platform:
      return refer(field, FieldDescriptorProto::TYPE_ENUM, package + "Platform", false);
    case Type::Architecture:
      return refer(field, FieldDescriptorProto::TYPE_ENUM, std::string(kContract) + "Architecture",
                   false);
    case Type::Containers:
      return refer(field, FieldDescriptorProto::TYPE_MESSAGE,
                   std::string(kContract) + "AdditionalContainer", true);
    case Type::SelectorTerms:
      return refer(field, FieldDescriptorProto::TYPE_MESSAGE, package + "NodeSelectorTerm", true);
    case Type::Filters:
      return refer(field, FieldDescriptorProto::TYPE_MESSAGE, package + "Filter", true);
    case Type::Devices:
      return refer(field, FieldDescriptorProto::TYPE_MESSAGE, package + "BlockDevice", true);
    case Type::TextMap: {
      DescriptorProto& entry = *message.add_nested_type();
      entry.set_name("DockerArgumentsEntry");
      entry.mutable_options()->set_map_entry(true);
      add_field(entry, "key");
      add_field(entry, "value");
      return refer(field, FieldDescriptorProto::TYPE_MESSAGE,
                   package + message.name() + ".DockerArgumentsEntry", true);
    }
  }
}

void add_message(FileDescriptorProto& file, const char* name, const std::vector<Field>& fields) {
  DescriptorProto& message = *file.add_message_type();
  message.set_name(name);
  for (const Field& field : fields) add_typed_field(message, field);
}

FileDescriptorProto describe_file() {
  FileDescriptorProto file;
  file.set_name("cirrus_cloud_kinds.proto");
  file.set_package(kPackage);
  file.set_syntax("proto3");
  file.add_dependency("cirrus_instances.proto");
  auto& platform = *file.add_enum_type();
  platform.set_name("Platform");
  for (const char* name : {"LINUX", "WINDOWS", "DARWIN", "FREEBSD", "SOLARIS"}) {
    auto& value = *platform.add_value();
    value.set_name(name);
    value.set_number(platform.value_size() - 1);
  }
  add_message(file, "Filter", {{"name"}, {"values", Type::Texts}});
  add_message(file, "BlockDevice", {{"device_name"}, {"virtual_name"}, {"no_device"}});
  add_message(file, "SelectorExpression", {{"key"}, {"operator"}, {"values", Type::Texts}});
  add_message(file, "NodeSelectorTerm", {});
  DescriptorProto& term = *file.mutable_message_type(file.message_type_size() - 1);
  refer(add_field(term, "matchExpressions"), FieldDescriptorProto::TYPE_MESSAGE,
        std::string(".") + kPackage + ".SelectorExpression", true);
  add_message(file, "EBS",
              {{"volume_size", Type::Number},
               {"volume_type"},
               {"delete_on_termination", Type::Flag},
               {"iops", Type::Number}});
  for (DescriptorProto& message : *file.mutable_message_type()) {
    if (message.name() == "BlockDevice") {
      refer(add_field(message, "ebs"), FieldDescriptorProto::TYPE_MESSAGE,
            std::string(".") + kPackage + ".EBS", false);
    }
  }
  for (const Kind& kind : kinds()) add_message(file, kind.message, kind.fields);
  return file;
}

}  // namespace

const std::map<std::string, std::string>& cloud_kind_messages() {
  static const std::map<std::string, std::string> kMessages = [] {
    std::map<std::string, std::string> result;
    for (const Kind& kind : kinds()) {
      for (const char* key : kind.keys) result[key] = std::string(kPackage) + "." + kind.message;
    }
    return result;
  }();
  return kMessages;
}

const std::shared_ptr<const google::protobuf::DescriptorPool>& known_messages() {
  static const std::shared_ptr<const google::protobuf::DescriptorPool> kPool = [] {
    // Touching a generated descriptor makes its file known to the generated pool.
    CIRRUS_CHECK(
        org::cirruslabs::ci::services::cirruscigrpc::AdditionalContainer::descriptor() != nullptr,
        "the contract's messages are linked in");
    auto pool = std::make_shared<google::protobuf::DescriptorPool>(
        google::protobuf::DescriptorPool::generated_pool());
    CIRRUS_CHECK(pool->BuildFile(describe_file()) != nullptr,
                 "the cloud kinds' messages are well-formed");
    return pool;
  }();
  return kPool;
}

}  // namespace cirrus::lang
