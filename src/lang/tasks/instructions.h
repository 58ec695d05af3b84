// SPDX-License-Identifier: MIT
// The instructions of a task, in order: scripts, caches, artifacts, files, and the behaviours that
// say when to run them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lang/tasks/scope.h"

namespace cirrus::lang {

/// Where instructions stand decides which are known.
enum class Level { Task, PipeStep };

/// The commands of one task while it is parsed.
class Commands {
 public:
  explicit Commands(Level level) : level_(level) {}

  /// Parses `field` if it is an instruction; false if it is none. Errors: Located, see each kind.
  Located<bool> parse(Scope& scope, const Node& field);
  /// Adds cache uploads nobody asked for at the end, and the clone at the start.
  void finish();

  std::vector<pb::Command>& list() { return commands_; }
  void set_level(Level level) { level_ = level; }

 private:
  Located<bool> parse_with(Scope& scope, const Node& field,
                           pb::Command::CommandExecutionBehavior behaviour, bool nested);
  Located<void> add_cache(Scope& scope, const Node& field, pb::Command& command);
  Located<void> add_uploads(Scope& scope, const Node& field,
                            pb::Command::CommandExecutionBehavior behaviour);
  void push(pb::Command command, pb::Command::CommandExecutionBehavior behaviour);

  Level level_;
  std::vector<pb::Command> commands_;
};

/// What a key such as `test_script` calls its command: the part before `suffix` without one
/// trailing `_`, or `fallback` if there is nothing before it; nothing if the key has another end.
/// Source: reference CLI, name handling.
std::optional<std::string> name_from_key(std::string_view key, std::string_view suffix,
                                         std::string_view fallback);

/// What instruction fields end in, and the fields that hold instructions or name caches.
const FieldNames& instruction_suffixes();
const FieldNames& behaviour_names();

/// Field names that may be repeated in one map, each being processed where it stands.
bool is_repeatable(std::string_view key);

/// The children of a map that are processed: every repeatable one, of other equal names the last.
std::vector<const Node*> counting_fields(const Node& map);

}  // namespace cirrus::lang
