// SPDX-License-Identifier: MIT
// Matrix expansion: one task with a `matrix` becomes several without.
#pragma once

#include "lang/tree/node.h"

namespace cirrus::lang {

/// Whether a key makes its value the unit a matrix multiplies: it ends in `task`, `pipe` or
/// `docker_builder`.
bool is_task_key(std::string_view key);

/// Expands every `matrix` below the root in place, the first in document order being the outermost
/// loop. Errors: Located for a matrix outside a task or of the wrong shape; Limit when the product
/// is too large. Cost: linear in the nodes of the result.
/// Source: reference CLI, matrix modifier.
Located<void> expand_matrices(Tree& tree);

}  // namespace cirrus::lang
