// SPDX-License-Identifier: MIT
// Checks and links across tasks: command names, dependencies, labels that tell tasks apart.
#pragma once

#include "lang/tasks/draft.h"

namespace cirrus::lang {

/// Fills `required` of every enabled task from its `depends_on`. Warns about dependencies that a
/// condition removed, then about differing conditions. Errors: Basic for a dependency that does not
/// exist, is hidden behind a `name`, is empty, or is part of a cycle; Limit.
Located<void> resolve_dependencies(Session& session, std::vector<Draft>& drafts);

/// Basic error for two commands of equal name in one enabled task.
Located<void> check_command_names(const std::vector<Draft>& drafts);

/// For tasks of equal name, what tells each from the others. Source: reference CLI, labels.
void assign_unique_labels(std::vector<Draft>& drafts);

}  // namespace cirrus::lang
