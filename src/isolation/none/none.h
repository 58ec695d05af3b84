// SPDX-License-Identifier: MIT
// No isolation: the agent is a child of the worker, in its own session and control group.
#pragma once

#include <memory>
#include <string>

#include "isolation/isolation.h"

namespace cirrus::isolation {

class NoneIsolation : public Isolation {
 public:
  /// Removes what an earlier worker of the same owner made and lost: its empty control groups.
  virtual void remove_leftovers() = 0;
};

/// Keeps one idle agent ready, so that a task's start does not pay for exec and initialisation
/// (design 3.7). `owner` is in the names of the control groups, so that a worker knows its own.
/// Thread-safe.
std::unique_ptr<NoneIsolation> make_none(bool keep_ready_agent,
                                         const std::string& owner = "worker");

}  // namespace cirrus::isolation
