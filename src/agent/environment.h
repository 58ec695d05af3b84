// SPDX-License-Identifier: MIT
// The variables of one task: what a script sees and what the agent looks up.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "agent/expansion.h"
#include "os/process.h"

namespace cirrus::agent {

/// The process environment with the task's variables above it.
///
/// Lookup order differs on purpose: values of variables see the process environment first (that
/// makes `PATH: $DIR:$PATH` work), texts see the task's variables first. Source: reference agent.
class TaskEnvironment {
 public:
  /// `secrets` are values that are never expanded, nor is what they bring into other variables:
  /// a password with a dollar sign stays itself.
  TaskEnvironment(os::Environment process, std::set<std::string> secrets);

  /// Adds or replaces, then expands the whole map again. Source: reference agent.
  void merge(const Variables& added);
  /// The task's own value; nullopt if the task has none, whatever the process environment says.
  std::optional<std::string> get(std::string_view name) const;
  bool has(std::string_view name) const { return get(name).has_value(); }
  bool is_true(std::string_view name) const { return get(name) == "true"; }
  /// The process environment alone.
  std::optional<std::string> process_value(std::string_view name) const;
  std::string expand_text(std::string_view text) const;

  /// What a process of the task is started with.
  os::Environment for_process() const;
  /// The task's own variables, expanded.
  Variables variables() const;

 private:
  const os::Environment process_;
  const std::set<std::string> secrets_;
  Variables variables_;  // secret values with their `$` and `%` guarded
};

}  // namespace cirrus::agent
