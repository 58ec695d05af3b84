// SPDX-License-Identifier: MIT
#include "lang/tasks/task.h"

#include <algorithm>

#include "base/strings.h"
#include "lang/expand/units.h"
#include "lang/tasks/environment.h"
#include "lang/tasks/pipe.h"

namespace cirrus::lang {
namespace {

constexpr std::string_view kBuiltinKinds[] = {"container", "arm_container", "windows_container",
                                              "macos_instance", "persistent_worker"};

std::string upper(std::string text) {
  for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text;
}

class TaskParser {
 public:
  TaskParser(Session& session, const Node& node, const TaskKey& key, MessageMaker& maker)
      : session_(session),
        node_(node),
        scope_(session, node),
        maker_(maker),
        properties_(properties_of(session.options)),
        commands_(key.kind == TaskKind::Pipe ? Level::PipeStep : Level::Task) {
    draft_.kind = key.kind;
    draft_.node = &node;
    draft_.name = key.name;
    draft_.fallback_name = key.name;
    draft_.properties = {{"allow_failures", "false"},
                         {"experimental", "false"},
                         {"timeout_in", "3600"},
                         {"trigger_type", "AUTOMATIC"}};
    if (draft_.kind != TaskKind::Task) scope_.set_variable("CIRRUS_OS", "linux");
    const auto& build = session.options.environment;
    const auto value = [&build](const char* name) {
      const auto found = build.find(name);
      return found == build.end() ? std::string() : found->second;
    };
    if (value("CIRRUS_BRANCH") != value("CIRRUS_DEFAULT_BRANCH"))
      draft_.properties["auto_cancellation"] = "true";
  }

  Located<Draft> run() {
    scope_.expect_map(node_);
    CIRRUS_TRY(inherited_fields());
    CIRRUS_TRY(own_inheritable_fields());
    CIRRUS_TRY(ordinary_fields());
    CIRRUS_TRY(decide_enabled());
    commands_.finish();
    draft_.commands = std::move(commands_.list());
    draft_.environment = scope_.environment();
    return std::move(draft_);
  }

 private:
  /// Every inheritable field in its fixed order. A failing instance kind only counts if no other
  /// kind works.
  Located<void> inherited_fields() {
    for (const std::string_view name : {"environment", "env"}) {
      if (const Node* field = scope_.collect(name)) CIRRUS_TRY(apply_environment(scope_, *field));
    }
    if (draft_.kind == TaskKind::Task) CIRRUS_TRY(inherited_instances());
    for (const std::string_view name : {"skip", "allow_failures", "timeout_in"}) {
      if (const Node* field = scope_.collect(name)) CIRRUS_TRY(setting(*field));
    }
    for (const TaskProperty& property : properties_) {
      if (const Node* field = scope_.collect(property.name))
        CIRRUS_TRY(extra_property(*field, property));
    }
    return {};
  }

  Located<void> inherited_instances() {
    std::optional<ConfigError> failure;
    const auto attempt = [&](std::string_view name) {
      const Node* field = scope_.collect(name);
      if (field == nullptr) return;
      Located<Instance> instance = parse_instance(*field, name);
      if (instance.ok()) {
        draft_.instance = std::move(instance).value();
      } else {
        failure = instance.error();
      }
    };
    const auto& extra = session_.options.additional_instances;
    for (const std::string_view name : kBuiltinKinds) {
      if (!extra.contains(std::string(name))) attempt(name);
    }
    for (const auto& [name, message] : extra) attempt(name);
    if (failure && !draft_.instance) return *std::move(failure);
    return {};
  }

  Located<Instance> parse_instance(const Node& field, std::string_view name) {
    const auto& extra = session_.options.additional_instances;
    if (const auto found = extra.find(std::string(name)); found != extra.end()) {
      return parse_message_instance(scope_, field, found->second, maker_);
    }
    if (name == "container") return parse_container(scope_, field, ContainerKind::Linux);
    if (name == "arm_container") return parse_container(scope_, field, ContainerKind::Arm);
    if (name == "windows_container") return parse_container(scope_, field, ContainerKind::Windows);
    if (name == "macos_instance") return parse_macos(scope_, field);
    return parse_persistent_worker(scope_, field);
  }

  bool is_instance_kind(std::string_view name) const {
    return std::find(std::begin(kBuiltinKinds), std::end(kBuiltinKinds), name) !=
               std::end(kBuiltinKinds) ||
           session_.options.additional_instances.contains(std::string(name));
  }

  /// What the task itself defines, once more and in document order, each time as inherited.
  Located<void> own_inheritable_fields() {
    if (!node_.is_map()) return {};
    for (const Node* child : node_.children) {
      const std::string_view name = child->name;
      if (name == "env" || name == "environment") {
        CIRRUS_TRY(apply_environment(scope_, *scope_.collect(name)));
      } else if (name == "skip" || name == "allow_failures" || name == "timeout_in") {
        CIRRUS_TRY(setting(*scope_.collect(name)));
      } else if (draft_.kind == TaskKind::Task && is_instance_kind(name)) {
        draft_.instance = CIRRUS_TRY(parse_instance(*scope_.collect(name), name));
      } else if (const TaskProperty* property = find_property(name)) {
        CIRRUS_TRY(extra_property(*scope_.collect(name), *property));
      }
    }
    return {};
  }

  Located<void> setting(const Node& field) {
    if (field.name == "timeout_in") {
      const Result<std::uint32_t> seconds = parse_seconds(CIRRUS_TRY(scope_.expanded(field)));
      if (!seconds.ok())
        return error_at(field, fmt::format("'timeout_in': {}", seconds.error().message()));
      draft_.properties["timeout_in"] = fmt::format("{}", seconds.value());
      return {};
    }
    const bool value = CIRRUS_TRY(scope_.condition(field));
    if (field.name == "skip") {
      draft_.skipped = value;
    } else {
      draft_.properties["allow_failures"] = value ? "true" : "false";
    }
    return {};
  }

  const TaskProperty* find_property(std::string_view name) const {
    for (const TaskProperty& property : properties_) {
      if (property.name == name) return &property;
    }
    return nullptr;
  }

  Located<void> extra_property(const Node& field, const TaskProperty& property) {
    std::string& stored = draft_.properties[property.name];
    if (property.type == PropertyType::Bool) {
      stored = CIRRUS_TRY(scope_.condition(field)) ? "true" : "false";
    } else if (property.type == PropertyType::List) {
      stored = join(CIRRUS_TRY(scope_.texts(field)), "\n");
    } else {
      stored = CIRRUS_TRY(scope_.expanded(field));
    }
    if (property.values.empty()) return {};
    stored = upper(stored);
    if (std::find(property.values.begin(), property.values.end(), stored) ==
        property.values.end()) {
      return error_at(
          field, fmt::format("'{}' must be {}, found '{}'", property.name,
                             to_lower(join(property.values, " or ")), shorten(field.text, 40)));
    }
    return {};
  }

  Located<void> ordinary_fields() {
    bool has_steps = false;
    if (draft_.kind == TaskKind::Pipe) draft_.instance = make_pipe_instance();
    if (draft_.kind == TaskKind::DockerBuilder) draft_.instance = make_docker_builder();
    for (const Node* child : counting_fields(node_)) {
      if (child->name == "name") {
        std::string name = CIRRUS_TRY(scope_.expanded(*child));
        if (!name.empty()) draft_.name = std::move(name);
      } else if (draft_.kind == TaskKind::Pipe && child->name == "steps") {
        has_steps = true;
        CIRRUS_TRY(parse_steps(scope_, *child, commands_));
      } else if (draft_.kind == TaskKind::Pipe && child->name == "resources") {
        CIRRUS_TRY(parse_pipe_resources(scope_, *child, *draft_.instance));
      } else if (draft_.kind == TaskKind::DockerBuilder &&
                 (child->name == "platform" || child->name == "os_version")) {
        CIRRUS_TRY(parse_docker_builder_field(scope_, *child, *draft_.instance));
      } else if (draft_.kind != TaskKind::Pipe && CIRRUS_TRY(commands_.parse(scope_, *child))) {
        continue;
      } else if (child->name == "alias") {
        draft_.alias = CIRRUS_TRY(scope_.expanded(*child));
        draft_.properties["alias"] = *draft_.alias;
      } else if (child->name == "depends_on") {
        draft_.depends_on = CIRRUS_TRY(scope_.texts(*child));
      } else {
        scope_.check_spelling(*child, known_fields(), instruction_suffixes());
      }
    }
    if (draft_.kind == TaskKind::Pipe && !has_steps) {
      ConfigError failure = error_at(node_, fmt::format("pipe '{}' needs 'steps'", draft_.name));
      failure.hint = "steps is a list; each step names an image and its scripts";
      return failure;
    }
    if (draft_.kind == TaskKind::Task && !draft_.instance &&
        !session_.options.missing_instances_allowed) {
      ConfigError failure = error_at(
          node_, fmt::format("task '{}' does not say where to run", shorten(draft_.name, 80)));
      failure.hint = missing_instance_hint();
      return failure;
    }
    return {};
  }

  /// For hints at misspelt ones.
  const FieldNames& known_fields() {
    FieldNames& known = session_.known_fields[static_cast<int>(draft_.kind)];
    if (!known.empty()) return known;
    known = {"name", "alias", "depends_on", "use_static_ip"};
    const auto add = [&known](const FieldNames& names) {
      known.insert(known.end(), names.begin(), names.end());
    };
    if (draft_.kind == TaskKind::Pipe) add({"resources", "steps"});
    if (draft_.kind == TaskKind::DockerBuilder) add({"platform", "os_version"});
    if (draft_.kind != TaskKind::Pipe) {
      add(behaviour_names());
      add(instruction_suffixes());
    }
    const NameSet inherited = collectible_names(session_.options);
    known.insert(known.end(), inherited.begin(), inherited.end());
    return known;
  }

  /// A misspelt instance kind, in the task or at the top level, is the likeliest cause.
  std::string missing_instance_hint() {
    std::vector<std::string> kinds(std::begin(kBuiltinKinds), std::end(kBuiltinKinds));
    for (const auto& [name, message] : session_.options.additional_instances) kinds.push_back(name);
    for (const Node* level : {&node_, static_cast<const Node*>(session_.tree.root())}) {
      for (const Node* child : level->children) {
        const std::string near = nearest_name(child->name, kinds);
        if (!near.empty() && near != child->name)
          return fmt::format("did you mean '{}' instead of '{}'?", near, child->name);
      }
    }
    return "add 'persistent_worker: {labels: ...}' or another instance to the task or to the top "
           "level";
  }

  /// The task's name is known here, and conditions may ask for it.
  Located<void> decide_enabled() {
    const Node* field = scope_.collect("only_if");
    if (field == nullptr) return {};
    if (!field->is_scalar()) return wrong_kind(*field, "a condition");
    draft_.only_if = std::string(field->text);
    if (field->is_blank() && field->tag.empty()) return {};
    const TextMap before = scope_.environment();
    scope_.set_variable("CIRRUS_TASK_NAME", draft_.name);
    Located<bool> enabled = scope_.condition(*field);
    if (const auto own = before.find("CIRRUS_TASK_NAME"); own != before.end()) {
      scope_.set_variable("CIRRUS_TASK_NAME", own->second);
    } else {
      scope_.remove_variable("CIRRUS_TASK_NAME");
    }
    if (!enabled.ok()) return enabled.error();
    draft_.enabled = enabled.value();
    return {};
  }

  Session& session_;
  const Node& node_;
  Scope scope_;
  MessageMaker& maker_;
  std::vector<TaskProperty> properties_;
  Commands commands_;
  Draft draft_;
};

}  // namespace

std::optional<TaskKey> task_key(std::string_view key) {
  if (auto name = name_from_key(key, "task", "main")) return TaskKey{TaskKind::Task, *name};
  if (auto name = name_from_key(key, "pipe", "main")) return TaskKey{TaskKind::Pipe, *name};
  if (auto name = name_from_key(key, "docker_builder", "main"))
    return TaskKey{TaskKind::DockerBuilder, *name};
  return std::nullopt;
}

NameSet collectible_names(const EvaluateOptions& options) {
  NameSet names = {"environment", "env", "skip", "allow_failures", "timeout_in", "only_if"};
  names.insert(std::begin(kBuiltinKinds), std::end(kBuiltinKinds));
  for (const auto& [name, message] : options.additional_instances) names.insert(name);
  for (const TaskProperty& property : properties_of(options)) names.insert(property.name);
  return names;
}

std::vector<TaskProperty> properties_of(const EvaluateOptions& options) {
  std::vector<TaskProperty> result = options.additional_task_properties;
  if (options.our_extensions) result.push_back({"priority", PropertyType::Text});
  return result;
}

void check_top_level(Session& session) {
  if (!session.options.our_extensions) return;
  const NameSet inherited = collectible_names(session.options);
  const FieldNames known(inherited.begin(), inherited.end());
  Scope scope(session, *session.tree.root());
  for (const Node* child : session.tree.root()->children) {
    if (task_key(child->name) || child->name.starts_with("task_")) continue;
    scope.check_spelling(*child, known, {"task", "pipe"});
  }
}

Located<Draft> parse_task(Session& session, const Node& node, const TaskKey& key,
                          MessageMaker& maker) {
  return TaskParser(session, node, key, maker).run();
}

}  // namespace cirrus::lang
