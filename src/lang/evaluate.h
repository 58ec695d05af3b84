// SPDX-License-Identifier: MIT
// The configuration language: `.cirrus.yml` text to tasks and issues. Pure: no clock, no network,
// and files only through the SourceTree it is given.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cirrus_agent.pb.h"
#include "cirrus_evaluator.pb.h"
#include "lang/config_error.h"
#include "lang/limits.h"
#include "lang/source_tree.h"

namespace google::protobuf {
class DescriptorPool;
}

namespace cirrus::lang {

namespace pb = org::cirruslabs::ci::services::cirruscigrpc;

/// What an extra task property holds. Source: evaluator service, which sends field descriptors.
enum class PropertyType {
  Text,  ///< expanded text
  Bool,  ///< an expression, stored as `true` or `false`
  List,  ///< text or list of texts, stored one per line
};

/// A task field that is carried to the task's metadata under its own name.
struct TaskProperty {
  std::string name;
  PropertyType type = PropertyType::Text;
  /// Stored in upper case, and only these values are accepted; empty: anything as it is.
  std::vector<std::string> values = {};
};

struct EvaluateOptions {
  std::map<std::string, std::string> environment;  ///< build variables; they win over the tasks'
  std::vector<std::string> affected_files;
  bool missing_instances_allowed = false;
  bool our_extensions = false;  ///< accept the fields only this product knows (save_on, ...)
  /// Field name to protobuf message name of further instance kinds; a built-in kind of the same
  /// name is replaced. Messages are looked up in `descriptors`.
  std::map<std::string, std::string> additional_instances;
  std::vector<TaskProperty> additional_task_properties;
  /// Null: the messages this program was built with and the known cloud kinds.
  std::shared_ptr<const google::protobuf::DescriptorPool> descriptors;
  /// Tasks that build the images of Dockerfiles, as the hosted service had them. Off: tasks keep
  /// their `dockerfile` and get `dockerfile_hash`; the worker builds.
  bool prebuild_tasks = true;
  /// Report a `.cirrus.star` among the files. Off: the caller knows of scripts by other means.
  bool look_for_starlark = true;
  Limits limits;
};

/// What the controller evaluates with: the known cloud instance kinds and task properties, our own
/// fields, and no image building tasks. The environment and files are the caller's to fill.
EvaluateOptions controller_options();

/// The instance kinds and task properties the hosted service had; part of controller_options and
/// of what the reference's users write. Source: public guide and schema of the hosted service.
std::map<std::string, std::string> cloud_instances();
std::vector<TaskProperty> hosted_task_properties();

struct Evaluation {
  std::vector<pb::Task> tasks;    ///< ordered by id
  std::vector<pb::Issue> issues;  ///< path, 1-based line and column; 0 if without a place
  std::int64_t tasks_count_before_filtering = 0;
};

/// On a configuration error `error` is set and there are no tasks; issues found before it are kept.
struct Outcome {
  Evaluation evaluation;
  std::optional<ConfigError> error;
};

/// Evaluates one configuration. Thread-safe. Cost: some milliseconds for real files, bounded by
/// `options.limits` for any. Source: reference CLI, configuration parser.
Outcome evaluate(std::string_view yaml, const SourceTree& files, const EvaluateOptions& options);

/// `.cirrus.yml:3:5: message`, the source line, a caret and a hint, as far as each is known.
std::string render(const ConfigError& failure);

/// Fills `failure.excerpt` from the text it is about; nothing if the place is not in the text.
void add_excerpt(ConfigError& failure, std::string_view text);

/// The issue the evaluation service answers for a Located error.
pb::Issue issue_of(const ConfigError& failure);

/// What is said of a repository with a `.cirrus.star`; position 1:1.
pb::Issue starlark_issue();

}  // namespace cirrus::lang
