// SPDX-License-Identifier: MIT
// A task between parsing and output: what the later steps still need to know about it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lang/tasks/instances.h"
#include "lang/tasks/instructions.h"

namespace cirrus::lang {

enum class TaskKind { Task, Pipe, DockerBuilder, Service };

struct Draft {
  TaskKind kind = TaskKind::Task;
  std::int64_t id = 0;
  const Node* node = nullptr;  ///< null for service tasks
  std::string name;
  std::string fallback_name;  ///< from the key
  std::optional<std::string> alias;
  bool enabled = true;
  bool skipped = false;
  std::string only_if;  ///< its text, empty if there is none
  std::vector<std::string> depends_on;
  std::vector<std::int64_t> required;
  TextMap environment;
  TextMap properties;
  std::vector<pb::Command> commands;
  std::optional<Instance> instance;
  std::vector<std::string> unique_labels;

  bool answers_to(const std::string& wanted) const {
    return wanted == name || (alias && wanted == *alias);
  }
};

}  // namespace cirrus::lang
