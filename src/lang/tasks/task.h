// SPDX-License-Identifier: MIT
// One task-like entry to a draft.
#pragma once

#include "lang/tasks/draft.h"
#include "lang/tasks/message_instance.h"

namespace cirrus::lang {

/// A task field that is inherited into metadata properties, see TaskProperty.
/// What a top-level key makes of its value; nothing if it is no task.
struct TaskKey {
  TaskKind kind;
  std::string name;
};
std::optional<TaskKey> task_key(std::string_view key);

/// The names whose values are inherited from enclosing levels, of all task kinds: environments,
/// instance kinds, conditions and properties. `<<` never drops them.
NameSet collectible_names(const EvaluateOptions& options);

/// The task properties an evaluation knows besides the built-in ones.
std::vector<TaskProperty> properties_of(const EvaluateOptions& options);

/// Warns of misspelt settings at the top level; see Scope::check_spelling.
void check_top_level(Session& session);

/// Parses one task in the order the language defines: inherited fields in their fixed order, the
/// task's own ones again in document order, then everything else. `enabled` is decided too.
/// Errors: the first problem found. Source: reference CLI, task, pipe and docker builder parsers.
Located<Draft> parse_task(Session& session, const Node& node, const TaskKey& key,
                          MessageMaker& maker);

}  // namespace cirrus::lang
