// SPDX-License-Identifier: MIT
#include "lang/tasks/message_instance.h"

#include <limits>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/message.h>

#include "base/strings.h"
#include "lang/tasks/json_text.h"

namespace cirrus::lang {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr std::string_view kPackage = "org.cirruslabs.ci.services.cirruscigrpc.";

bool is_secret_field(const FieldDescriptor& field) {
  return !field.is_repeated() && field.type() == FieldDescriptor::TYPE_STRING &&
         (std::string_view(field.name()).ends_with("credentials") ||
          std::string_view(field.name()).ends_with("config"));
}

/// A map as compact JSON; a text is expanded as any other.
Located<std::string> secret_text(Scope& scope, const Node& node) {
  if (node.is_scalar()) return scope.expanded(node);
  if (!node.is_map()) return wrong_kind(node, "a text or a map");
  return json_text(node);
}

class MessageReader {
 public:
  explicit MessageReader(Scope& scope) : scope_(scope) {}

  Located<void> read(const Node& node, Message& message, std::optional<DockerfileUse>* dockerfile) {
    scope_.expect_map(node);
    const Descriptor& type = *message.GetDescriptor();
    if (!scope_.session().budget.spend_work(static_cast<std::size_t>(type.field_count()))) {
      return error_at(node, "reading instances of this size takes too much work", ErrorKind::Limit);
    }
    CIRRUS_TRY(read_secrets(node, message));
    for (const Node* child : fields_of(node)) {
      const FieldDescriptor* field = type.FindFieldByName(std::string(child->name));
      if (field == nullptr || is_secret_field(*field)) continue;
      CIRRUS_TRY(field->is_repeated() ? read_repeated(*child, message, *field)
                                      : read_single(*child, message, *field));
      if (dockerfile != nullptr && field->name() == "dockerfile" &&
          field->type() == FieldDescriptor::TYPE_STRING) {
        const std::string path = message.GetReflection()->GetString(message, field);
        if (!path.empty()) *dockerfile = DockerfileUse{path, {}, child->mark};
      }
    }
    return {};
  }

 private:
  /// Looked up through the instance, the task and the top level.
  Located<void> read_secrets(const Node& node, Message& message) {
    const Descriptor& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (!is_secret_field(field)) continue;
      const Node* own = node.child(field.name());
      const Node* above = scope_.collect(field.name());
      const Node* value = own == nullptr     ? above
                          : above == nullptr ? own
                                             : scope_.session().inheritance.overlay(*above, *own);
      if (value == nullptr) continue;
      message.GetReflection()->SetString(&message, &field, CIRRUS_TRY(secret_text(scope_, *value)));
    }
    return {};
  }

  Located<void> read_single(const Node& node, Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    const auto integer = [&](std::int64_t low, std::int64_t high) -> Located<std::int64_t> {
      if (field.name() == "memory")
        return static_cast<std::int64_t>(CIRRUS_TRY(scope_.megabytes(node)));
      return scope_.integer(node, low, high);
    };
    constexpr std::int64_t kMax32 = std::numeric_limits<std::int32_t>::max();
    constexpr std::int64_t kMax64 = std::numeric_limits<std::int64_t>::max();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        if (field.type() == FieldDescriptor::TYPE_BYTES) return unsupported(node);
        reflection.SetString(&message, &field, CIRRUS_TRY(scope_.expanded(node)));
        return {};
      case FieldDescriptor::CPPTYPE_BOOL:
        reflection.SetBool(&message, &field, CIRRUS_TRY(scope_.condition(node)));
        return {};
      case FieldDescriptor::CPPTYPE_INT32:
        reflection.SetInt32(&message, &field,
                            static_cast<std::int32_t>(CIRRUS_TRY(integer(-kMax32 - 1, kMax32))));
        return {};
      case FieldDescriptor::CPPTYPE_UINT32:
        reflection.SetUInt32(&message, &field,
                             static_cast<std::uint32_t>(CIRRUS_TRY(integer(0, kMax32))));
        return {};
      case FieldDescriptor::CPPTYPE_INT64:
        reflection.SetInt64(&message, &field, CIRRUS_TRY(integer(-kMax64 - 1, kMax64)));
        return {};
      case FieldDescriptor::CPPTYPE_UINT64:
        reflection.SetUInt64(&message, &field,
                             static_cast<std::uint64_t>(CIRRUS_TRY(integer(0, kMax64))));
        return {};
      case FieldDescriptor::CPPTYPE_FLOAT:
        reflection.SetFloat(&message, &field, CIRRUS_TRY(scope_.decimal32(node)));
        return {};
      case FieldDescriptor::CPPTYPE_DOUBLE:
        reflection.SetDouble(&message, &field, CIRRUS_TRY(scope_.decimal(node, ErrorKind::Number)));
        return {};
      case FieldDescriptor::CPPTYPE_ENUM: return read_enum(node, message, field);
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return read(node, *reflection.MutableMessage(&message, &field), nullptr);
    }
    return unsupported(node);
  }

  static ConfigError unsupported(const Node& node) {
    return error_at(
        node, fmt::format("'{}' has a type that cannot be written in a configuration", node.name));
  }

  Located<void> read_enum(const Node& node, Message& message, const FieldDescriptor& field) {
    std::string name = CIRRUS_TRY(scope_.expanded(node));
    for (char& c : name) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    const EnumValueDescriptor* value = field.enum_type()->FindValueByName(name);
    if (value == nullptr) {
      std::vector<std::string> names;
      for (int i = 0; i < field.enum_type()->value_count(); ++i)
        names.push_back(to_lower(field.enum_type()->value(i)->name()));
      return error_at(node, fmt::format("'{}' is not a value of '{}': use {}", shorten(name, 40),
                                        node.name, join(names, ", ")));
    }
    message.GetReflection()->SetEnum(&message, &field, value);
    return {};
  }

  Located<void> read_repeated(const Node& node, Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    reflection.ClearField(&message, &field);
    if (field.is_map()) return read_map(node, message, field);
    if (field.type() == FieldDescriptor::TYPE_STRING) {
      for (const std::string& text : CIRRUS_TRY(scope_.texts(node)))
        reflection.AddString(&message, &field, text);
      return {};
    }
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return unsupported(node);
    const std::string& type = field.message_type()->full_name();
    if (field.name() == "volumes" && type == fmt::format("{}Volume", kPackage)) {
      for (const pb::Volume& volume : CIRRUS_TRY(parse_volumes(scope_, node))) {
        copy_into(volume, *reflection.AddMessage(&message, &field));
      }
      return {};
    }
    if (!node.is_list()) return wrong_kind(node, "a list");
    for (const Node* item : node.children) {
      Message& added = *reflection.AddMessage(&message, &field);
      if (field.name() == "additional_containers" &&
          type == fmt::format("{}AdditionalContainer", kPackage)) {
        copy_into(CIRRUS_TRY(parse_additional_container(scope_, *item)), added);
      } else {
        CIRRUS_TRY(read(*item, added, nullptr));
      }
    }
    return {};
  }

  /// The target may be of another pool's equal type, so the copy goes through the wire form.
  static void copy_into(const Message& from, Message& to) {
    to.ParseFromString(from.SerializeAsString());
  }

  Located<void> read_map(const Node& node, Message& message, const FieldDescriptor& field) {
    const FieldDescriptor& key_field = *field.message_type()->map_key();
    const FieldDescriptor& value_field = *field.message_type()->map_value();
    if (key_field.type() != FieldDescriptor::TYPE_STRING) return unsupported(node);
    const bool texts = value_field.type() == FieldDescriptor::TYPE_STRING;
    if (texts) {
      const bool lists = field.name() == "docker_arguments" || field.name() == "labels";
      for (const auto& [key, value] : CIRRUS_TRY(scope_.text_map(node, lists, true))) {
        Message& entry = add_entry(message, field, key);
        entry.GetReflection()->SetString(&entry, &value_field, value);
      }
      return {};
    }
    if (!node.is_map()) return wrong_kind(node, "a map");
    for (const Node* child : fields_of(node)) {
      Message& entry = add_entry(message, field, std::string(child->name));
      CIRRUS_TRY(read_single(*child, entry, value_field));
    }
    return {};
  }

  static Message& add_entry(Message& message, const FieldDescriptor& field,
                            const std::string& key) {
    Message& entry = *message.GetReflection()->AddMessage(&message, &field);
    entry.GetReflection()->SetString(&entry, field.message_type()->map_key(), key);
    return entry;
  }

  Scope& scope_;
};

std::string lower_value(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM)
    return to_lower(reflection.GetEnum(message, &field)->name());
  return field.cpp_type() == FieldDescriptor::CPPTYPE_STRING
             ? to_lower(reflection.GetString(message, &field))
             : "";
}

/// The lower-case `platform` of the message or of a message set in it; `linux` if such a field
/// exists without a value, nothing if there is none.
std::optional<std::string> platform_of(const Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  if (const FieldDescriptor* field = type.FindFieldByName("platform");
      field != nullptr && !field->is_repeated()) {
    const std::string value = lower_value(message, *field);
    return value.empty() ? "linux" : value;
  }
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.is_repeated() || field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!message.GetReflection()->HasField(message, &field)) continue;
    if (auto found = platform_of(message.GetReflection()->GetMessage(message, &field)))
      return found;
  }
  return std::nullopt;
}

void set_platform_variables(Scope& scope, const Message& message) {
  const std::string& type = message.GetDescriptor()->full_name();
  const std::string lower = to_lower(type);
  const auto named = [&lower](std::string_view part) {
    return lower.find(part) != std::string::npos;
  };
  if (named("windows")) {
    scope.set_variable("CIRRUS_OS", "windows");
  } else if (named("freebsd")) {
    scope.set_variable("CIRRUS_OS", "freebsd");
  } else if (named("darwin") || named("osx") || named("anka") || named("macos")) {
    scope.set_variable("CIRRUS_OS", "darwin");
  } else if (const std::optional<std::string> platform = platform_of(message)) {
    scope.set_variable("CIRRUS_OS", *platform);
  }
  if (type.find("Arm") != std::string::npos) {
    scope.set_variable("CIRRUS_ARCH", "arm64");
    return;
  }
  const FieldDescriptor* architecture = message.GetDescriptor()->FindFieldByName("architecture");
  if (architecture == nullptr || architecture->is_repeated()) return;
  if (!message.GetReflection()->HasField(message, architecture)) return;
  scope.set_variable("CIRRUS_ARCH", lower_value(message, *architecture));
}

TextMap docker_arguments_of(const Message& message) {
  TextMap result;
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName("docker_arguments");
  if (field == nullptr || !field->is_map() ||
      field->message_type()->map_value()->type() != FieldDescriptor::TYPE_STRING) {
    return result;
  }
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, field, i);
    const Reflection& parts = *entry.GetReflection();
    result[parts.GetString(entry, field->message_type()->map_key())] =
        parts.GetString(entry, field->message_type()->map_value());
  }
  return result;
}

}  // namespace

MessageMaker::MessageMaker(std::shared_ptr<const google::protobuf::DescriptorPool> pool)
    : pool_(std::move(pool)),
      factory_(std::make_unique<google::protobuf::DynamicMessageFactory>(pool_.get())) {
  factory_->SetDelegateToGeneratedFactory(true);
}

MessageMaker::~MessageMaker() = default;

std::unique_ptr<Message> MessageMaker::make(const std::string& full_name) {
  const Descriptor* type = pool_->FindMessageTypeByName(full_name);
  if (type == nullptr) return nullptr;
  return std::unique_ptr<Message>(factory_->GetPrototype(type)->New());
}

Located<Instance> parse_message_instance(Scope& scope, const Node& node,
                                         const std::string& full_name, MessageMaker& maker) {
  Instance result{std::string(node.name), maker.make(full_name), true, std::nullopt};
  if (result.message == nullptr) {
    return error_at(node,
                    fmt::format("instance kind '{}' is known, but its message '{}' is not",
                                node.name, full_name),
                    ErrorKind::Basic);
  }
  CIRRUS_TRY(MessageReader(scope).read(node, *result.message, &result.dockerfile));
  if (result.dockerfile) result.dockerfile->arguments = docker_arguments_of(*result.message);
  set_platform_variables(scope, *result.message);
  return result;
}

}  // namespace cirrus::lang
