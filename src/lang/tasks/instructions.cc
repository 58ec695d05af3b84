// SPDX-License-Identifier: MIT
#include "lang/tasks/instructions.h"

#include <algorithm>
#include <set>
#include <unordered_set>

#include "base/strings.h"
#include "lang/tasks/script_text.h"

namespace cirrus::lang {
namespace {

using Behaviour = pb::Command::CommandExecutionBehavior;

// Known fields, for hints at misspelt ones.
const FieldNames kArtifactsFields = {"name", "path", "paths", "type", "format"};
const FieldNames kFileFields = {"name", "path", "variable_name", "from_contents"};
const FieldNames kCacheFields = {"name",
                                 "folder",
                                 "folders",
                                 "fingerprint_script",
                                 "fingerprint_key",
                                 "populate_script",
                                 "reupload_on_changes",
                                 "optimistically_restore_on_miss",
                                 "save_on"};
const FieldNames kBehaviours = {"always", "on_failure", "on_timeout", "on_success",
                                "upload_caches"};

std::optional<Behaviour> behaviour_of(std::string_view key) {
  if (key == "always") return pb::Command::ALWAYS;
  if (key == "on_failure") return pb::Command::ON_FAILURE;
  if (key == "on_timeout") return pb::Command::ON_TIMEOUT;
  if (key == "on_success") return pb::Command::ON_SUCCESS;
  return std::nullopt;
}

std::string upload_name(std::string_view cache) {
  return fmt::format("Upload '{}' cache", cache);
}

std::string home_path(std::string_view folder) {
  const std::string_view path = trim(folder);
  return path.starts_with("~/") ? fmt::format("$HOME/{}", path.substr(2)) : std::string(path);
}

/// `name` inside a cache, artifacts or file field overrides the one from the key.
Located<void> take_name(Scope& scope, const Node& field, pb::Command& command) {
  std::string name = CIRRUS_TRY(scope.expanded(field));
  if (!name.empty()) command.set_name(std::move(name));
  return {};
}

void assign(const std::vector<std::string>& from,
            google::protobuf::RepeatedPtrField<std::string>* to) {
  to->Assign(from.begin(), from.end());
}

Located<void> add_artifacts(Scope& scope, const Node& field, pb::Command& command) {
  scope.expect_fields(field, kArtifactsFields);
  pb::ArtifactsInstruction& artifacts = *command.mutable_artifacts_instruction();
  for (const Node* child : fields_of(field)) {
    if (child->name == "name") {
      CIRRUS_TRY(take_name(scope, *child, command));
    } else if (child->name == "path") {
      artifacts.clear_paths();
      artifacts.add_paths(CIRRUS_TRY(scope.expanded(*child)));
    } else if (child->name == "paths") {
      assign(CIRRUS_TRY(scope.texts(*child)), artifacts.mutable_paths());
    } else if (child->name == "type") {
      artifacts.set_type(CIRRUS_TRY(scope.expanded(*child)));
    } else if (child->name == "format") {
      artifacts.set_format(CIRRUS_TRY(scope.expanded(*child)));
    }
  }
  return {};
}

Located<void> add_file(Scope& scope, const Node& field, pb::Command& command) {
  scope.expect_fields(field, kFileFields);
  pb::FileInstruction& file = *command.mutable_file_instruction();
  bool has_path = false;
  for (const Node* child : fields_of(field)) {
    if (child->name == "name") {
      CIRRUS_TRY(take_name(scope, *child, command));
    } else if (child->name == "path") {
      file.set_destination_path(CIRRUS_TRY(scope.expanded(*child)));
      has_path = true;
    } else if (child->name == "variable_name") {
      std::string name = CIRRUS_TRY(scope.text(*child));
      if (name.starts_with('$')) name.erase(0, 1);
      file.set_from_environment_variable(std::move(name));
    } else if (child->name == "from_contents") {
      file.set_from_contents(CIRRUS_TRY(scope.expanded(*child)));
    }
  }
  if (!has_path) {
    ConfigError failure =
        error_at(field, fmt::format("file instruction '{}' needs a 'path'", field.name));
    if (field.name == "dockerfile") {
      failure.hint =
          "'dockerfile' belongs inside 'container'; every field that ends in 'file' is a file "
          "instruction";
    }
    return failure;
  }
  if (file.source_case() == pb::FileInstruction::SOURCE_NOT_SET) {
    return error_at(
        field,
        fmt::format("file instruction '{}' needs 'variable_name' or 'from_contents'", field.name));
  }
  return {};
}

}  // namespace

const FieldNames& instruction_suffixes() {
  static const FieldNames kSuffixes = {"script", "cache", "artifacts", "file"};
  return kSuffixes;
}

const FieldNames& behaviour_names() {
  return kBehaviours;
}

std::optional<std::string> name_from_key(std::string_view key, std::string_view suffix,
                                         std::string_view fallback) {
  if (!key.ends_with(suffix)) return std::nullopt;
  std::string_view name = key.substr(0, key.size() - suffix.size());
  if (name.empty()) return std::string(fallback);
  if (name.ends_with('_')) name.remove_suffix(1);
  return std::string(name);
}

bool is_repeatable(std::string_view key) {
  return key == "upload_caches" || behaviour_of(key).has_value();
}

std::vector<const Node*> counting_fields(const Node& map) {
  std::vector<const Node*> result;
  if (!map.is_map()) return result;
  std::unordered_set<std::string_view> later;
  for (auto it = map.children.rbegin(); it != map.children.rend(); ++it) {
    if (later.insert((*it)->name).second || is_repeatable((*it)->name)) result.push_back(*it);
  }
  std::reverse(result.begin(), result.end());
  return result;
}

void Commands::push(pb::Command command, Behaviour behaviour) {
  command.set_execution_behaviour(behaviour);
  commands_.push_back(std::move(command));
}

Located<bool> Commands::parse(Scope& scope, const Node& field) {
  return parse_with(scope, field, pb::Command::ON_SUCCESS, /*nested=*/false);
}

// The order of the cases is the language: a key may fit several, the first one counts.
Located<bool> Commands::parse_with(Scope& scope, const Node& field, Behaviour behaviour,
                                   bool nested) {
  const std::string_view key = field.name;
  pb::Command command;
  std::optional<std::string> name;
  const auto named = [&](std::string_view suffix, std::string_view fallback) {
    name = name_from_key(key, suffix, fallback);
    if (name) command.set_name(*name);
    return name.has_value();
  };
  // A pipe step knows background scripts inside behaviours only. Source: reference CLI, its schema.
  if ((level_ == Level::Task || nested) && named("background_script", "main")) {
    assign(CIRRUS_TRY(parse_script(field)),
           command.mutable_background_script_instruction()->mutable_scripts());
  } else if (named("script", "main")) {
    assign(CIRRUS_TRY(parse_script(field)),
           command.mutable_script_instruction()->mutable_scripts());
  } else if (named("cache", "main")) {
    CIRRUS_TRY(add_cache(scope, field, command));
  } else if (key == "upload_caches") {
    CIRRUS_TRY(add_uploads(scope, field, behaviour));
    return true;
  } else if (named("artifacts", "binary")) {
    CIRRUS_TRY(add_artifacts(scope, field, command));
  } else if (named("file", "file")) {
    CIRRUS_TRY(add_file(scope, field, command));
  } else if (const std::optional<Behaviour> inner = behaviour_of(key); inner && !nested) {
    scope.expect_map(field);
    for (const Node* child : counting_fields(field)) {
      if (!CIRRUS_TRY(parse_with(scope, *child, *inner, /*nested=*/true))) {
        scope.check_spelling(*child, {"upload_caches"}, instruction_suffixes());
      }
    }
    return true;
  } else {
    return false;
  }
  push(std::move(command), behaviour);
  return true;
}

Located<void> Commands::add_cache(Scope& scope, const Node& field, pb::Command& command) {
  scope.expect_fields(field, kCacheFields);
  pb::CacheInstruction& cache = *command.mutable_cache_instruction();
  std::vector<std::string> folder;
  std::vector<std::string> folders;
  bool script_fingerprint = false;
  bool key_fingerprint = false;
  std::optional<bool> reupload;
  for (const Node* child : fields_of(field)) {
    if (child->name == "name") {
      CIRRUS_TRY(take_name(scope, *child, command));
    } else if (child->name == "folder") {
      const std::string path = home_path(CIRRUS_TRY(scope.expanded(*child)));
      if (!path.empty()) folder = {path};
    } else if (child->name == "folders") {
      for (const std::string& path : CIRRUS_TRY(scope.texts(*child))) {
        if (!trim(path).empty()) folders.push_back(home_path(path));
      }
    } else if (child->name == "fingerprint_script") {
      assign(CIRRUS_TRY(parse_script(*child)), cache.mutable_fingerprint_scripts());
      script_fingerprint = true;
    } else if (child->name == "fingerprint_key") {
      cache.set_fingerprint_key(CIRRUS_TRY(scope.expanded(*child)));
      key_fingerprint = true;
    } else if (child->name == "populate_script") {
      assign(CIRRUS_TRY(parse_script(*child)), cache.mutable_populate_scripts());
    } else if (child->name == "reupload_on_changes") {
      reupload = CIRRUS_TRY(scope.condition(*child));
    } else if (child->name == "optimistically_restore_on_miss") {
      cache.set_optimistically_restore_on_miss(CIRRUS_TRY(scope.condition(*child)));
    } else if (child->name == "save_on" && scope.session().options.our_extensions) {
      const std::string value = CIRRUS_TRY(scope.expanded(*child));
      if (value != "always" && value != "success") {
        return error_at(*child, fmt::format("'save_on' must be 'always' or 'success', found '{}'",
                                            shorten(value, 40)));
      }
      (*command.mutable_properties())["save_on"] = value;
    }
  }
  if (folder.empty() && folders.empty()) {
    return error_at(field, fmt::format("cache '{}' needs a 'folder' or 'folders'", command.name()));
  }
  if (!folder.empty() && !folders.empty()) {
    return error_at(field,
                    fmt::format("cache '{}' has both 'folder' and 'folders'", command.name()));
  }
  if (script_fingerprint && key_fingerprint) {
    return error_at(field,
                    fmt::format("cache '{}' has both 'fingerprint_script' and 'fingerprint_key'",
                                command.name()));
  }
  assign(folder.empty() ? folders : folder, cache.mutable_folders());
  cache.set_reupload_on_changes(reupload.value_or(!script_fingerprint && !key_fingerprint));
  return {};
}

Located<void> Commands::add_uploads(Scope& scope, const Node& field, Behaviour behaviour) {
  // Only earlier fields count: a name twice in one list is left to the check for equal names.
  std::set<std::string> known;
  std::set<std::string> uploaded;
  for (const pb::Command& command : commands_) {
    known.insert(command.name());
    if (command.has_upload_cache_instruction())
      uploaded.insert(command.upload_cache_instruction().cache_name());
  }
  for (const std::string& name : CIRRUS_TRY(scope.texts(field))) {
    if (!known.contains(name)) {
      const std::string near = nearest_name(name, {known.begin(), known.end()});
      ConfigError failure = error_at(
          field,
          fmt::format("no cache called '{}' before this 'upload_caches'", shorten(name, 60)));
      if (!near.empty()) failure.hint = fmt::format("did you mean '{}'?", near);
      return failure;
    }
    if (uploaded.contains(name))
      return error_at(field, fmt::format("cache '{}' is uploaded already", name));
    pb::Command command;
    command.set_name(upload_name(name));
    command.mutable_upload_cache_instruction()->set_cache_name(name);
    push(std::move(command), behaviour);
  }
  return {};
}

void Commands::finish() {
  const bool uploads = std::any_of(
      commands_.begin(), commands_.end(),
      [](const pb::Command& command) { return command.has_upload_cache_instruction(); });
  if (!uploads) {
    const std::size_t count = commands_.size();
    for (std::size_t i = 0; i < count; ++i) {
      if (!commands_[i].has_cache_instruction()) continue;
      pb::Command command;
      command.set_name(upload_name(commands_[i].name()));
      command.mutable_upload_cache_instruction()->set_cache_name(commands_[i].name());
      push(std::move(command), commands_[i].execution_behaviour());
    }
  }
  const bool cloned =
      std::any_of(commands_.begin(), commands_.end(),
                  [](const pb::Command& command) { return command.name() == "clone"; });
  if (cloned) return;
  pb::Command clone;
  clone.set_name("clone");
  clone.mutable_clone_instruction();
  // In a pipe the first command of a step carries the image to run in.
  if (!commands_.empty()) {
    auto& properties = *commands_.front().mutable_properties();
    if (const auto image = properties.find("image"); image != properties.end()) {
      (*clone.mutable_properties())["image"] = image->second;
      properties.erase("image");
    }
  }
  commands_.insert(commands_.begin(), std::move(clone));
}

}  // namespace cirrus::lang
