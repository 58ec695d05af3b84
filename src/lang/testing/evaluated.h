// SPDX-License-Identifier: MIT
// Short forms for tests of the language.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/strings.h"
#include "lang/evaluate.h"

namespace cirrus::lang::testing {

inline Outcome evaluated(std::string_view yaml, const EvaluateOptions& options = {},
                         std::map<std::string, std::string> files = {}) {
  return evaluate(yaml, MemorySourceTree(std::move(files)), options);
}

/// `3:5` of the error, `none` without one, then what kind it is unless it is Located.
inline std::string place(const Outcome& outcome) {
  if (!outcome.error) return "none";
  static constexpr std::string_view kKinds[] = {"",        " basic",  " expression",
                                                " syntax", " number", " limit"};
  return fmt::format("{}:{}{}", outcome.error->line, outcome.error->column,
                     kKinds[static_cast<std::size_t>(outcome.error->kind)]);
}

inline std::string message(const Outcome& outcome) {
  return outcome.error ? outcome.error->message : "";
}

/// The only task of a configuration; an empty one (and a message in it) if there is not one.
inline pb::Task only_task(const Outcome& outcome) {
  if (outcome.error) {
    pb::Task failed;
    failed.set_name(render(*outcome.error));
    return failed;
  }
  return outcome.evaluation.tasks.size() == 1 ? outcome.evaluation.tasks.front() : pb::Task();
}

inline std::string task_names(const Outcome& outcome) {
  if (outcome.error) return render(*outcome.error);
  std::vector<std::string> names;
  for (const pb::Task& task : outcome.evaluation.tasks) names.push_back(task.name());
  return join(names, " ");
}

/// Command names, with `!` for always, `-` for on_failure and `~` for on_timeout.
inline std::string command_names(const pb::Task& task) {
  std::vector<std::string> names;
  for (const pb::Command& command : task.commands()) {
    static constexpr std::string_view kMarks[] = {"", "-", "!", "~"};
    names.push_back(std::string(kMarks[static_cast<std::size_t>(command.execution_behaviour())]) +
                    command.name());
  }
  return join(names, ", ");
}

/// `3:1 warning, 5:3 error`.
inline std::string issue_places(const Outcome& outcome) {
  std::vector<std::string> places;
  for (const pb::Issue& issue : outcome.evaluation.issues) {
    places.push_back(fmt::format("{}:{} {}", issue.line(), issue.column(),
                                 to_lower(pb::Issue_Level_Name(issue.level()))));
  }
  return join(places, ", ");
}

template <typename Message>
Message instance_of(const pb::Task& task) {
  Message result;
  task.instance().UnpackTo(&result);
  return result;
}

inline std::string env(const pb::Task& task, const std::string& name) {
  const auto found = task.environment().find(name);
  return found == task.environment().end() ? "(unset)" : found->second;
}

inline std::string property(const pb::Task& task, const std::string& name) {
  const auto found = task.metadata().properties().find(name);
  return found == task.metadata().properties().end() ? "(unset)" : found->second;
}

}  // namespace cirrus::lang::testing
