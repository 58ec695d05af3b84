// SPDX-License-Identifier: MIT
#include "lang/schema.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include "base/strings.h"
#include "lang/tasks/cloud_kinds.h"
#include "lang/tasks/json_text.h"
#include "lang/tasks/task.h"

namespace cirrus::lang {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

/// Property names (or patterns) and their schemas as JSON text.
using Properties = std::map<std::string, std::string>;

std::string text_list_of(const std::string& item) {
  return fmt::format(R"({{"items":[{}],"type":"array"}})", item);
}

const std::string kText = R"({"type":"string"})";
const std::string kNumber = R"({"type":"number"})";
const std::string kInteger = R"({"type":"integer"})";
const std::string kMemory = R"({"pattern":"\\d+(G|Mb)?","type":"string"})";
const std::string kTexts = text_list_of(kText);
const std::string kTextOrTexts = fmt::format(R"({{"anyOf":[{},{}]}})", kText, kTexts);
const std::string kNumberOrText = fmt::format(R"({{"anyOf":[{},{}]}})", kNumber, kText);
const std::string kTextMap =
    fmt::format(R"({{"patternProperties":{{".*":{}}},"type":"object"}})", kText);
const std::string kDefaultAdmin = R"({"default":"admin","type":"string"})";

std::string members(const Properties& properties) {
  std::string result;
  for (const auto& [name, schema] : properties) {
    if (!result.empty()) result += ',';
    result += json_quoted(name) + ":" + schema;
  }
  return "{" + result + "}";
}

std::string object(const Properties& properties, const Properties& patterns = {},
                   const std::string& more = "") {
  std::string result = "{";
  if (!more.empty()) result += more + ",";
  if (!patterns.empty()) result += "\"patternProperties\":" + members(patterns) + ",";
  if (!properties.empty()) result += "\"properties\":" + members(properties) + ",";
  return result + R"("type":"object"})";
}

/// The same schema with a description in front.
std::string described(const std::string& schema, std::string_view text) {
  return fmt::format("{{\"description\":{},{}", json_quoted(text), schema.substr(1));
}

std::string enumeration(const std::vector<std::string>& values) {
  std::string result;
  for (const std::string& value : values)
    result += (result.empty() ? "" : ",") + json_quoted(value);
  return "{\"enum\":[" + result + "]}";
}

const char* kRequiredImage = R"("required":["image"])";

std::string additional_container() {
  return object(
      {{"command",
        described(kText,
                  "What to run instead of the image's default; split like a shell command.")},
       {"cpu", kNumber},
       {"env", kTextMap},
       {"environment", kTextMap},
       {"image", kText},
       {"memory", kMemory},
       {"name", described(kText, "Letters only.")},
       {"port", kNumberOrText},
       {"ports", text_list_of(kNumberOrText)},
       {"privileged", kText},
       {"readiness_command", kTextOrTexts}},
      {}, kRequiredImage);
}

std::string container() {
  return described(
      object({{"additional_containers", text_list_of(additional_container())},
              {"cpu", kNumber},
              {"docker_arguments", kTextMap},
              {"dockerfile", described(kText, "A Dockerfile to build the image from.")},
              {"image", kText},
              {"kvm", kText},
              {"memory", kMemory},
              {"registry_config", kText},
              {"use_in_memory_disk", kText},
              {"use_static_ip", kText}}),
      "Run the task in a Linux container.");
}

std::string windows_container() {
  return described(object({{"cpu", kNumber},
                           {"docker_arguments", kTextMap},
                           {"dockerfile", kText},
                           {"image", kText},
                           {"memory", kMemory},
                           {"os_version", enumeration({"2019", "1709", "1803"})},
                           {"use_static_ip", kText}}),
                   "Run the task in a Windows container.");
}

std::string macos_instance() {
  return described(object({{"cpu", kNumber},
                           {"image", kText},
                           {"memory", kMemory},
                           {"password", kText},
                           {"user", kText}}),
                   "Run the task in a macOS virtual machine.");
}

std::string isolation(bool ours) {
  const std::string platform = enumeration({"darwin", "linux", "windows"});
  const std::string volume =
      object({{"name", kText}, {"readonly", kText}, {"source", kText}, {"target", kText}}, {},
             R"("required":["source"])");
  Properties tart = {{"cpu", kNumber},
                     {"display", kText},
                     {"image", kText},
                     {"memory", kMemory},
                     {"password", kDefaultAdmin},
                     {"port", kInteger},
                     {"softnet", R"({"type":"boolean"})"},
                     {"user", kDefaultAdmin},
                     {"volumes", text_list_of(volume)}};
  Properties vetu = {{"cpu", kNumber},       {"disk_size", kInteger},     {"image", kText},
                     {"memory", kMemory},    {"password", kDefaultAdmin}, {"port", kInteger},
                     {"user", kDefaultAdmin}};
  Properties kinds = {
      {"container", object({{"cpu", kNumber},
                            {"docker_arguments", kTextMap},
                            {"dockerfile", kText},
                            {"image", kText},
                            {"memory", kMemory},
                            {"platform", platform},
                            {"volumes", kTexts}})},
      {"parallels",
       object({{"image", kText}, {"password", kText}, {"platform", platform}, {"user", kText}})}};
  if (ours) {
    tart["nested"] = R"({"type":"boolean"})";
    tart["disk_size"] = kInteger;
    vetu["networking"] =
        object({{"bridged", object({{"interface", kText}})}, {"host", object({})}});
    kinds["none"] = described(object({}), "Run directly on the worker's machine.");
  }
  kinds["tart"] = object(tart);
  kinds["vetu"] = object(vetu);
  return object(kinds);
}

std::string persistent_worker(bool ours) {
  return described(
      object({{"isolation", isolation(ours)},
              {"labels", described(ours ? kTextMap : kText, "Labels a worker must have.")},
              {"resources", described(ours ? object({}, {{".*", kNumber}}) : kText,
                                      "Amounts of the worker's resources the task takes.")}}),
      "Run the task on one of your own machines.");
}

Properties instruction_patterns(bool background, bool ours) {
  Properties cache = {{"fingerprint_key", kText},
                      {"fingerprint_script", kTextOrTexts},
                      {"folder", kText},
                      {"folders", kTextOrTexts},
                      {"name", kText},
                      {"optimistically_restore_on_miss", kText},
                      {"populate_script", kTextOrTexts},
                      {"reupload_on_changes", kText}};
  if (ours) cache["save_on"] = enumeration({"always", "success"});
  Properties result = {
      {"^(.*)artifacts$", described(object({{"format", kText},
                                            {"name", kText},
                                            {"path", kText},
                                            {"paths", kTexts},
                                            {"type", kText}}),
                                    "Files to keep after the task.")},
      {"^(.*)cache$",
       described(object(cache, {}, R"("oneOf":[{"required":["folder"]},{"required":["folders"]}])"),
                 "Folders to restore before and save after the task.")},
      {"^(.*)file$", described(object({{"from_contents", kText},
                                       {"name", kText},
                                       {"path", kText},
                                       {"variable_name", kText}},
                                      {}, R"("required":["path"])"),
                               "A file to create from a variable or from text.")},
      {"^(.*)script$", described(kTextOrTexts, "Commands to run.")}};
  if (background)
    result["^(.*)background_script$"] =
        described(kTextOrTexts, "Commands to start and leave running.");
  return result;
}

void add_behaviours(Properties& properties, bool ours) {
  const std::string inner =
      object({{"upload_caches", kTexts}}, instruction_patterns(/*background=*/true, ours));
  properties["always"] = described(inner, "Instructions that run whatever happened before.");
  properties["on_failure"] = described(inner, "Instructions that run only after a failure.");
  properties["on_success"] = described(inner, "Instructions that run only while nothing failed.");
  properties["on_timeout"] = described(inner, "Instructions that run only after the time ran out.");
}

/// Message types may refer to themselves, and callers may bring their own.
struct MessageBounds {
  int depth = 6;        ///< levels that are described
  int fields = 20'000;  ///< fields of one schema; what is beyond them is left out
};

/// What a field of a message-driven instance accepts.
std::string message_schema(const Descriptor& type, int depth, MessageBounds& bounds);

std::string field_schema(const FieldDescriptor& field, int depth, MessageBounds& bounds) {
  if (field.is_map()) return kTextMap;
  if (field.name() == "memory") return kMemory;
  std::string item = kText;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64: item = kInteger; break;
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE: item = kNumber; break;
    case FieldDescriptor::CPPTYPE_ENUM: {
      std::vector<std::string> values;
      for (int i = 0; i < field.enum_type()->value_count() && bounds.fields > 0; ++i) {
        --bounds.fields;
        std::string name = field.enum_type()->value(i)->name();
        for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        values.push_back(name);
      }
      item = enumeration(values);
      break;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (field.name() == "additional_containers") {
        item = additional_container();
      } else if (field.message_type()->name() != "Volume") {
        item = message_schema(*field.message_type(), depth + 1, bounds);
      }
      break;
    default: break;
  }
  if (!field.is_repeated()) return item;
  return item == kText ? kTextOrTexts : text_list_of(item);
}

std::string message_schema(const Descriptor& type, int depth, MessageBounds& bounds) {
  Properties properties;
  for (int i = 0; i < type.field_count() && depth < bounds.depth && bounds.fields > 0; ++i) {
    --bounds.fields;
    properties[type.field(i)->name()] = field_schema(*type.field(i), depth, bounds);
  }
  return object(properties);
}

Properties extra_kinds(const EvaluateOptions& options) {
  Properties result;
  MessageBounds bounds;
  const auto& pool = options.descriptors ? options.descriptors : known_messages();
  for (const auto& [name, message] : options.additional_instances) {
    const Descriptor* type = pool->FindMessageTypeByName(message);
    if (type != nullptr) result[name] = message_schema(*type, 0, bounds);
  }
  return result;
}

/// Settings that every task kind inherits.
Properties inherited(const EvaluateOptions& options) {
  Properties result = {
      {"allow_failures", described(kText, "The build succeeds even if this task does not.")},
      {"env", described(kTextMap, "Environment variables.")},
      {"environment", described(kTextMap, "Environment variables.")},
      {"only_if", described(kText, "A condition; the task exists only where it is true.")},
      {"skip",
       described(kText,
                 "A condition; where it is true the task counts as passed without running.")},
      {"timeout_in", described(kNumber, "How long the task may take.")}};
  for (const TaskProperty& property : properties_of(options)) {
    result[property.name] = property.type == PropertyType::List ? kTextOrTexts : kText;
  }
  return result;
}

}  // namespace

std::string json_schema(const EvaluateOptions& options,
                        const std::vector<std::string>& file_match) {
  const bool ours = options.our_extensions;
  const Properties common = inherited(options);
  Properties instances = {{"container", container()},
                          {"macos_instance", macos_instance()},
                          {"persistent_worker", persistent_worker(ours)},
                          {"windows_container", windows_container()}};
  for (const auto& [name, schema] : extra_kinds(options)) instances[name] = schema;

  Properties linked = common;
  linked["alias"] = described(kText, "A second name for depends_on.");
  linked["depends_on"] = described(kTextOrTexts, "Names of the tasks that must succeed first.");
  linked["name"] = described(kText, "The task's name; by default the key without '_task'.");

  Properties pipe = linked;
  Properties step = {{"image", kText}, {"upload_caches", kTexts}};
  add_behaviours(step, ours);
  pipe["resources"] = object({{"cpu", kNumber}, {"memory", kMemory}});
  pipe["steps"] =
      text_list_of(object(step, instruction_patterns(/*background=*/false, ours), kRequiredImage));

  Properties builder = linked;
  builder["upload_caches"] = kTexts;
  add_behaviours(builder, ours);
  Properties task = builder;
  builder["os_version"] = enumeration({"2019", "1709", "1803"});
  builder["platform"] = enumeration({"linux", "windows"});
  builder["use_static_ip"] = kText;
  task.insert(instances.begin(), instances.end());

  Properties top = common;
  top.insert(instances.begin(), instances.end());
  const Properties patterns = instruction_patterns(/*background=*/true, ours);
  std::string head = R"("$schema":"http://json-schema.org/draft-04/schema#",)";
  if (!file_match.empty()) {
    std::vector<std::string> names;
    for (const std::string& name : file_match) names.push_back(json_quoted(name));
    head += fmt::format("\"fileMatch\":[{}],", join(names, ","));
  }
  return object(top,
                {{"^(.*)task$", object(task, patterns)},
                 {"^(.*)pipe$", object(pipe)},
                 {"^(.*)docker_builder$", object(builder, patterns)}},
                head + R"("id":"https://cirrus-ci.org/")");
}

}  // namespace cirrus::lang
