// SPDX-License-Identifier: MIT
#include "lang/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver_util.h>

#include "lang/tasks/cloud_kinds.h"
#include "lang/tasks/json_text.h"

namespace cirrus::lang {

Result<std::string> tasks_to_json(
    const std::vector<pb::Task>& tasks,
    const std::shared_ptr<const google::protobuf::DescriptorPool>& descriptors) {
  const auto& pool = descriptors ? descriptors : known_messages();
  const std::unique_ptr<google::protobuf::util::TypeResolver> resolver(
      google::protobuf::util::NewTypeResolverForDescriptorPool("type.googleapis.com", pool.get()));
  std::string result = "[";
  for (const pb::Task& task : tasks) {
    std::string text;
    const auto status = google::protobuf::util::BinaryToJsonString(
        resolver.get(), "type.googleapis.com/" + task.GetDescriptor()->full_name(),
        task.SerializeAsString(), &text, {});
    if (!status.ok())
      return error(Code::Internal, "task '{}' cannot be written as JSON: {}", task.name(),
                   status.ToString());
    if (result.size() > 1) result += ',';
    result += text;
  }
  return result + "]";
}

std::string issues_to_json(const std::vector<pb::Issue>& issues) {
  std::string result = "[";
  for (const pb::Issue& issue : issues) {
    if (result.size() > 1) result += ',';
    result +=
        fmt::format(R"({{"level":{},"message":{},"path":{},"line":{},"column":{})",
                    json_quoted(pb::Issue_Level_Name(issue.level())), json_quoted(issue.message()),
                    json_quoted(issue.path()), issue.line(), issue.column());
    if (!issue.raw_details().empty()) result += ",\"hint\":" + json_quoted(issue.raw_details());
    result += '}';
  }
  return result + "]";
}

}  // namespace cirrus::lang
