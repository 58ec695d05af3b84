// SPDX-License-Identifier: MIT
#include "lang/evaluate.h"

#include "base/strings.h"
#include "lang/tasks/cloud_kinds.h"
#include "lang/tasks/dependencies.h"
#include "lang/tasks/prebuild.h"
#include "lang/tasks/task.h"
#include "lang/tree/build.h"
#include "lang/tree/matrix.h"

namespace cirrus::lang {
namespace {

/// Text to expanded tree: steps 1 to 3 of the pipeline.
Located<std::unique_ptr<Tree>> read_tree(std::string_view text, const EvaluateOptions& options) {
  const Limits& limits = options.limits;
  std::variant<yaml::Document, yaml::SyntaxError> document =
      yaml::read(text, {limits.max_bytes, limits.max_depth, limits.max_nodes});
  if (const auto* failure = std::get_if<yaml::SyntaxError>(&document)) {
    return error_at(failure->mark, failure->message, ErrorKind::Syntax);
  }
  std::unique_ptr<Tree> tree = CIRRUS_TRY(build_tree(std::get<yaml::Document>(std::move(document)),
                                                     collectible_names(options), limits));
  CIRRUS_TRY(expand_matrices(*tree));
  return tree;
}

std::size_t output_size(const Draft& draft) {
  std::size_t bytes = 200;
  for (const auto& [name, value] : draft.environment) bytes += name.size() + value.size() + 60;
  for (const auto& [name, value] : draft.properties) bytes += name.size() + value.size();
  for (const pb::Command& command : draft.commands) bytes += command.ByteSizeLong() + 60;
  if (draft.instance) bytes += draft.instance->message->ByteSizeLong();
  return bytes;
}

Located<std::vector<Draft>> parse_tasks(Session& session, MessageMaker& maker) {
  std::vector<Draft> drafts;
  for (const Node* child : session.tree.root()->children) {
    if (child->name.starts_with("task_")) {
      session.warn(*child,
                   fmt::format("'{}' is not a task; did you mean '{}_task'?",
                               shorten(child->name, 60), shorten(child->name.substr(5), 60)));
    }
    const std::optional<TaskKey> key = task_key(child->name);
    if (!key) continue;
    if (drafts.size() >= session.options.limits.max_tasks) {
      return error_at(*child, fmt::format("more than {} tasks", session.options.limits.max_tasks),
                      ErrorKind::Limit);
    }
    Draft draft = CIRRUS_TRY(parse_task(session, *child, *key, maker));
    draft.id = static_cast<std::int64_t>(drafts.size());
    if (!session.budget.spend_output(output_size(draft))) session.output_exhausted = true;
    Located<void> budget = session.check_budget();
    if (!budget.ok()) {
      ConfigError failure = budget.error();
      failure.line = child->mark.line;
      failure.column = child->mark.column;
      return failure;
    }
    drafts.push_back(std::move(draft));
  }
  return drafts;
}

pb::Task task_of(Draft&& draft, std::int64_t index) {
  pb::Task task;
  task.set_local_group_id(draft.id);
  task.mutable_required_groups()->Assign(draft.required.begin(), draft.required.end());
  task.set_name(draft.name);
  if (draft.skipped) task.set_status(pb::SKIPPED);
  for (auto& [name, value] : draft.environment)
    (*task.mutable_environment())[name] = std::move(value);
  auto& properties = *task.mutable_metadata()->mutable_properties();
  for (auto& [name, value] : draft.properties) properties[name] = std::move(value);
  properties["indexWithinBuild"] = fmt::format("{}", index);
  task.mutable_metadata()->mutable_unique_labels()->Assign(draft.unique_labels.begin(),
                                                           draft.unique_labels.end());
  for (pb::Command& command : draft.commands) *task.add_commands() = std::move(command);
  if (draft.instance) task.mutable_instance()->PackFrom(*draft.instance->message);
  return task;
}

Located<void> run(Session& session, const EvaluateOptions& options, Evaluation& evaluation) {
  check_top_level(session);
  MessageMaker maker(options.descriptors ? options.descriptors : known_messages());
  std::vector<Draft> drafts = CIRRUS_TRY(parse_tasks(session, maker));
  const auto count = static_cast<std::int64_t>(drafts.size());
  CIRRUS_TRY(check_command_names(drafts));
  CIRRUS_TRY(resolve_dependencies(session, drafts));
  CIRRUS_TRY(apply_dockerfiles(session, drafts, count));
  assign_unique_labels(drafts);
  std::int64_t index = 0;
  for (Draft& draft : drafts) {
    if (draft.enabled) evaluation.tasks.push_back(task_of(std::move(draft), index++));
  }
  evaluation.tasks_count_before_filtering = evaluation.tasks.empty() ? 0 : count;
  return {};
}

/// Scripts that generate configuration are not run yet; that must not go unnoticed.
void note_starlark(const SourceTree& files, Evaluation& evaluation) {
  const Result<std::optional<std::string>> script = files.read(".cirrus.star");
  if (script.ok() && script.value()) evaluation.issues.push_back(starlark_issue());
}

/// A hint for the one mistake the YAML reader words worst: a condition that begins with `!`.
void add_tag_hint(ConfigError& failure, std::string_view text) {
  if (failure.kind != ErrorKind::Syntax || failure.message.find("tag") == std::string::npos) return;
  const std::vector<std::string> lines = split(text, '\n');
  for (std::size_t line = failure.line; line > 0 && line + 3 > failure.line; --line) {
    if (line > lines.size()) continue;
    const std::string& source = lines[line - 1];
    const std::size_t at = source.find(": !");
    if (at == std::string::npos) continue;
    failure.hint = fmt::format("a value that begins with '!' must be quoted: {}: \"{}\"",
                               trim(source.substr(0, at)), trim(source.substr(at + 2)));
    return;
  }
}

}  // namespace

Outcome evaluate(std::string_view yaml, const SourceTree& files, const EvaluateOptions& options) {
  Outcome outcome;
  if (options.look_for_starlark) note_starlark(files, outcome.evaluation);
  Located<std::unique_ptr<Tree>> tree = read_tree(yaml, options);
  if (tree.ok()) {
    Session session(options, files, *tree.value());
    const Located<void> done = run(session, options, outcome.evaluation);
    std::move(session.issues.begin(), session.issues.end(),
              std::back_inserter(outcome.evaluation.issues));
    if (!done.ok()) outcome.error = done.error();
  } else {
    outcome.error = tree.error();
  }
  if (outcome.error) {
    outcome.evaluation.tasks.clear();
    outcome.evaluation.tasks_count_before_filtering = 0;
    add_tag_hint(*outcome.error, yaml);
    add_excerpt(*outcome.error, yaml);
  }
  return outcome;
}

pb::Issue starlark_issue() {
  pb::Issue issue;
  issue.set_level(pb::Issue::ERROR);
  issue.set_message(".cirrus.star is not supported yet: the tasks it would add are missing");
  issue.set_path(".cirrus.star");
  issue.set_line(1);
  issue.set_column(1);
  return issue;
}

EvaluateOptions controller_options() {
  EvaluateOptions options;
  options.our_extensions = true;
  options.prebuild_tasks = false;
  options.additional_instances = cloud_instances();
  options.additional_task_properties = hosted_task_properties();
  return options;
}

std::map<std::string, std::string> cloud_instances() {
  return cloud_kind_messages();
}

std::vector<TaskProperty> hosted_task_properties() {
  return {{"auto_cancellation", PropertyType::Bool},
          {"stateful", PropertyType::Bool},
          {"skip_notifications", PropertyType::Bool},
          {"experimental", PropertyType::Bool},
          {"use_compute_credits", PropertyType::Bool},
          {"execution_lock", PropertyType::Text},
          {"trigger_type", PropertyType::Text, {"AUTOMATIC", "MANUAL"}},
          {"required_pr_labels", PropertyType::List}};
}

}  // namespace cirrus::lang
