// SPDX-License-Identifier: MIT
#include "lang/service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/descriptor_database.h>

#include "base/strings.h"
#include "lang/schema.h"
#include "lang/tasks/cloud_kinds.h"

namespace cirrus::lang {
namespace {

using google::protobuf::DescriptorDatabase;
using google::protobuf::DescriptorPool;
using google::protobuf::DescriptorProto;
using google::protobuf::EnumDescriptorProto;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptorProto;
using google::protobuf::FileDescriptorSet;

// Ours. The hosted service had about twenty of each.
constexpr int kMaxKinds = 200;
constexpr int kMaxProperties = 200;
constexpr std::size_t kMaxDescriptorBytes = std::size_t{4} << 20;
constexpr std::size_t kMaxShownError = 1'000;

/// The files of a request by name, and which of them defines a symbol. The packaged databases log
/// what they refuse, so that a caller could fill our log.
class GivenFiles final : public DescriptorDatabase {
 public:
  explicit GivenFiles(const FileDescriptorSet& files) {
    for (const FileDescriptorProto& file : files.file()) {
      if (!files_.emplace(file.name(), &file).second) continue;
      const std::string prefix = file.package().empty() ? "" : file.package() + ".";
      for (const DescriptorProto& message : file.message_type()) add(file, prefix, message);
      for (const EnumDescriptorProto& type : file.enum_type())
        symbols_.emplace(prefix + type.name(), &file);
    }
  }

  bool FindFileByName(const std::string& name, FileDescriptorProto* output) override {
    const auto found = files_.find(name);
    if (found == files_.end()) return false;
    *output = *found->second;
    return true;
  }
  bool FindFileContainingSymbol(const std::string& symbol, FileDescriptorProto* output) override {
    const auto found = symbols_.find(symbol);
    if (found == symbols_.end()) return false;
    *output = *found->second;
    return true;
  }
  bool FindFileContainingExtension(const std::string&, int, FileDescriptorProto*) override {
    return false;
  }

 private:
  void add(const FileDescriptorProto& file, const std::string& prefix,
           const DescriptorProto& message) {
    const std::string name = prefix + message.name();
    symbols_.emplace(name, &file);
    for (const DescriptorProto& inner : message.nested_type()) add(file, name + ".", inner);
    for (const EnumDescriptorProto& type : message.enum_type())
      symbols_.emplace(name + "." + type.name(), &file);
  }

  std::map<std::string, const FileDescriptorProto*> files_;
  std::map<std::string, const FileDescriptorProto*> symbols_;
};

class FirstError final : public DescriptorPool::ErrorCollector {
 public:
  void AddError(const std::string& file, const std::string& element,
                const google::protobuf::Message*, ErrorLocation,
                const std::string& message) override {
    if (text.empty()) text = fmt::format("{}: {}: {}", file, element, message);
  }
  void AddWarning(const std::string&, const std::string&, const google::protobuf::Message*,
                  ErrorLocation, const std::string&) override {}

  std::string text;
};

/// A pool and what it reads from, in the order of their making. The request must outlive it.
/// Given files come first, then those of this program.
struct GivenTypes {
  explicit GivenTypes(const FileDescriptorSet& files)
      : given(files), known(*known_messages()), both(&given, &known), pool(&both, &errors) {}
  GivenTypes(const GivenTypes&) = delete;
  GivenTypes& operator=(const GivenTypes&) = delete;

  GivenFiles given;
  google::protobuf::DescriptorPoolDatabase known;
  google::protobuf::MergedDescriptorDatabase both;
  FirstError errors;
  DescriptorPool pool;
};

Status take_instances(const pb::AdditionalInstancesInfo& info, EvaluateOptions& options) {
  if (info.instances_size() > kMaxKinds) {
    return error(Code::InvalidArgument, "{} additional instances are more than {}",
                 info.instances_size(), kMaxKinds);
  }
  options.additional_instances = {info.instances().begin(), info.instances().end()};
  if (info.descriptor_set().file_size() == 0) return {};
  const std::size_t bytes = info.descriptor_set().ByteSizeLong();
  if (bytes > kMaxDescriptorBytes) {
    return error(Code::InvalidArgument, "a descriptor set of {} bytes is larger than {}", bytes,
                 kMaxDescriptorBytes);
  }
  const auto types = std::make_shared<GivenTypes>(info.descriptor_set());
  // Types are built when they are looked for, so that only those in use have to be good.
  for (const auto& [name, message] : options.additional_instances) {
    static_cast<void>(types->pool.FindMessageTypeByName(message));
    if (types->errors.text.empty()) continue;
    return error(Code::InvalidArgument, "the type '{}' of instance kind '{}' is broken: {}",
                 shorten(message, 100), shorten(name, 100),
                 shorten(types->errors.text, kMaxShownError));
  }
  options.descriptors = std::shared_ptr<const DescriptorPool>(types, &types->pool);
  return {};
}

/// Source: reference CLI, evaluator service: lists are announced as groups.
PropertyType property_type(const FieldDescriptorProto& field) {
  if (field.type() == FieldDescriptorProto::TYPE_BOOL) return PropertyType::Bool;
  if (field.type() == FieldDescriptorProto::TYPE_GROUP) return PropertyType::List;
  return PropertyType::Text;
}

Result<EvaluateOptions> options_of(const pb::EvaluateConfigRequest& request) {
  EvaluateOptions options;
  options.look_for_starlark = false;
  options.environment = {request.environment().begin(), request.environment().end()};
  options.affected_files = {request.affectedfiles().begin(), request.affectedfiles().end()};
  CIRRUS_TRY(take_instances(request.additional_instances_info(), options));
  if (request.additional_task_properties_size() > kMaxProperties) {
    return error(Code::InvalidArgument, "{} additional task properties are more than {}",
                 request.additional_task_properties_size(), kMaxProperties);
  }
  for (const FieldDescriptorProto& field : request.additional_task_properties()) {
    options.additional_task_properties.push_back({field.name(), property_type(field)});
  }
  return options;
}

/// Stands for a repository we would have to ask a forge for; this service asks nobody.
class UnreachableTree final : public SourceTree {
 public:
  Result<std::optional<std::string>> read(std::string_view path) const override {
    return refuse(path);
  }
  Result<std::optional<std::vector<std::string>>> list(std::string_view path) const override {
    return refuse(path);
  }

 private:
  static Error refuse(std::string_view path) {
    return error(Code::Unimplemented,
                 "'{}' would have to be read from the forge, which this service does not do: send "
                 "the files with the request",
                 shorten(path, 100));
  }
};

std::unique_ptr<SourceTree> files_of(const pb::FileSystem& files) {
  if (files.has_github()) return std::make_unique<UnreachableTree>();
  return std::make_unique<MemorySourceTree>(std::map<std::string, std::string>(
      files.memory().filescontents().begin(), files.memory().filescontents().end()));
}

Status check_size(const google::protobuf::Message& request) {
  const std::size_t bytes = request.ByteSizeLong();
  if (bytes <= kMaxEvaluationRequest) return {};
  return error(Code::ResourceExhausted, "a request of {} bytes is larger than {}", bytes,
               kMaxEvaluationRequest);
}

}  // namespace

Result<pb::EvaluateConfigResponse> evaluate_request(const pb::EvaluateConfigRequest& request) {
  CIRRUS_TRY(check_size(request));
  const EvaluateOptions options = CIRRUS_TRY(options_of(request));
  Outcome outcome = evaluate(request.yaml_config(), *files_of(request.fs()), options);
  pb::EvaluateConfigResponse response;
  response.set_processed_config(request.yaml_config());
  if (!request.starlark_config().empty()) *response.add_issues() = starlark_issue();
  for (pb::Issue& issue : outcome.evaluation.issues) *response.add_issues() = std::move(issue);
  if (outcome.error) {
    if (outcome.error->kind != ErrorKind::Located) {
      return error(Code::InvalidArgument, "{}", shorten(render(*outcome.error), kMaxShownError));
    }
    *response.add_issues() = issue_of(*outcome.error);
    return response;
  }
  for (pb::Task& task : outcome.evaluation.tasks) *response.add_tasks() = std::move(task);
  response.set_tasks_count_before_filtering(outcome.evaluation.tasks_count_before_filtering);
  return response;
}

Result<pb::JSONSchemaResponse> schema_request(const pb::JSONSchemaRequest& request) {
  CIRRUS_TRY(check_size(request));
  EvaluateOptions options;
  CIRRUS_TRY(take_instances(request.additional_instances_info(), options));
  pb::JSONSchemaResponse response;
  response.set_schema(json_schema(options, {".cirrus.yml", ".cirrus.yaml"}));
  return response;
}

}  // namespace cirrus::lang
