// SPDX-License-Identifier: MIT
// The `env` and `environment` fields.
#pragma once

#include "lang/tasks/scope.h"

namespace cirrus::lang {

/// The variables a field defines, unexpanded: a map or a list of maps, values being texts or lists
/// of texts (joined by newlines). Errors: Located for anything else, an empty field included.
Located<TextMap> parse_environment(const Node& field);

/// Lays a field's variables over the task's environment.
Located<void> apply_environment(Scope& scope, const Node& field);

}  // namespace cirrus::lang
