// SPDX-License-Identifier: MIT
// Pipes (a container per step) and docker builders (a machine with docker).
#pragma once

#include "lang/tasks/instances.h"
#include "lang/tasks/instructions.h"

namespace cirrus::lang {

/// A pipe with the default resources, and its `resources` field.
Instance make_pipe_instance();
Located<void> parse_pipe_resources(Scope& scope, const Node& field, Instance& pipe);
/// The commands of all steps; the first of each step carries the step's image as a property.
Located<void> parse_steps(Scope& scope, const Node& field, Commands& commands);

Instance make_docker_builder();
/// `platform` or `os_version`; the platform becomes CIRRUS_OS as it was written.
Located<void> parse_docker_builder_field(Scope& scope, const Node& field, Instance& builder);

}  // namespace cirrus::lang
