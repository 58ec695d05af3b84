// SPDX-License-Identifier: MIT
// No isolation: the agent is a child of the worker, in its own session and cgroup.
#pragma once

#include <memory>

#include "isolation/isolation.h"

namespace cirrus::isolation {

/// Keeps one idle agent ready, so that a task's start does not pay for exec and initialisation
/// (design 3.7). Thread-safe.
std::unique_ptr<Isolation> make_none(bool keep_ready_agent);

}  // namespace cirrus::isolation
