// SPDX-License-Identifier: MIT
#include "lang/tasks/dependencies.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "base/strings.h"

namespace cirrus::lang {
namespace {

ConfigError basic(const Draft& draft, std::string message) {
  return error_at(draft.node == nullptr ? yaml::Mark{} : draft.node->mark, std::move(message),
                  ErrorKind::Basic);
}

using Index = std::unordered_map<std::string, std::vector<const Draft*>>;

void add_names(const Draft& draft, Index& index) {
  index[draft.name].push_back(&draft);
  if (draft.alias && *draft.alias != draft.name) index[*draft.alias].push_back(&draft);
}

std::string only_if_warning(const Draft& from, const Draft& to) {
  return fmt::format("task '{}' depends on task '{}', but their only_if conditions differ",
                     shorten(from.name, 80), shorten(to.name, 80));
}

/// Why nothing enabled answers to `wanted`.
ConfigError unresolved(const Draft& draft, const std::string& wanted,
                       const std::vector<Draft>& drafts) {
  if (wanted.empty()) {
    ConfigError failure =
        basic(draft, fmt::format("task '{}' has an empty dependency", draft.name));
    failure.hint = "name a task in depends_on, or remove it";
    return failure;
  }
  std::vector<std::string> names;
  for (const Draft& other : drafts) {
    if (!other.enabled) continue;
    if (other.fallback_name == wanted) {
      ConfigError failure = basic(
          draft,
          fmt::format("task '{}' depends on '{}', which is called '{}' because of its 'name' field",
                      draft.name, wanted, other.name));
      failure.hint = fmt::format("depend on '{}', or give that task an 'alias'", other.name);
      return failure;
    }
    names.push_back(other.name);
  }
  ConfigError failure = basic(
      draft, fmt::format("task '{}' depends on '{}', which does not exist", draft.name, wanted));
  const std::string near = names.size() > 1'000 ? "" : nearest_name(wanted, names);
  if (!near.empty()) failure.hint = fmt::format("did you mean '{}'?", near);
  return failure;
}

/// Names the tasks that wait for each other, in task order.
Located<void> check_cycles(const std::vector<Draft>& drafts) {
  std::unordered_map<std::int64_t, std::size_t> waiting;
  std::unordered_map<std::int64_t, std::vector<std::int64_t>> dependants;
  std::vector<std::int64_t> ready;
  for (const Draft& draft : drafts) {
    if (!draft.enabled) continue;
    waiting[draft.id] = draft.required.size();
    if (draft.required.empty()) ready.push_back(draft.id);
    for (const std::int64_t id : draft.required) dependants[id].push_back(draft.id);
  }
  while (!ready.empty()) {
    const std::int64_t id = ready.back();
    ready.pop_back();
    for (const std::int64_t dependant : dependants[id]) {
      if (--waiting[dependant] == 0) ready.push_back(dependant);
    }
  }
  std::vector<std::string> stuck;
  const Draft* first = nullptr;
  for (const Draft& draft : drafts) {
    if (!draft.enabled || waiting[draft.id] == 0) continue;
    if (first == nullptr) first = &draft;
    stuck.push_back(draft.name);
  }
  if (stuck.empty()) return {};
  const std::size_t count = stuck.size();
  if (count > 20) stuck.resize(20);
  return basic(*first,
               fmt::format("these tasks can never run because they wait for each other: {}{}",
                           join(stuck, ", "), count > 20 ? ", ..." : ""));
}

}  // namespace

Located<void> resolve_dependencies(Session& session, std::vector<Draft>& drafts) {
  Index enabled;
  Index dropped;
  for (const Draft& draft : drafts) add_names(draft, draft.enabled ? enabled : dropped);
  struct Link {
    const Draft* from;
    const Draft* to;
  };
  std::vector<Link> differing;
  for (Draft& draft : drafts) {
    if (!draft.enabled) continue;
    for (const std::string& wanted : draft.depends_on) {
      const auto found = wanted.empty() ? enabled.end() : enabled.find(wanted);
      if (found == enabled.end()) {
        const auto gone = wanted.empty() ? dropped.end() : dropped.find(wanted);
        if (gone == dropped.end()) return unresolved(draft, wanted, drafts);
        session.warn(*draft.node, only_if_warning(draft, *gone->second.front()));
        continue;
      }
      if (!session.budget.spend_output(found->second.size() * sizeof(std::int64_t)))
        session.output_exhausted = true;
      CIRRUS_TRY(session.check_budget());
      for (const Draft* target : found->second) {
        draft.required.push_back(target->id);
        if (!target->only_if.empty() && target->only_if != draft.only_if)
          differing.push_back({&draft, target});
      }
    }
    std::sort(draft.required.begin(), draft.required.end());
  }
  CIRRUS_TRY(check_cycles(drafts));
  for (const Link& link : differing) {
    session.warn(*link.from->node, only_if_warning(*link.from, *link.to));
    CIRRUS_TRY(session.check_budget());
  }
  return {};
}

Located<void> check_command_names(const std::vector<Draft>& drafts) {
  const auto type_of = [](const pb::Command& command) {
    const auto* field =
        pb::Command::descriptor()->FindFieldByNumber(static_cast<int>(command.instruction_case()));
    std::string name = field == nullptr ? "instruction" : field->name();
    std::replace(name.begin(), name.end(), '_', ' ');
    return name;
  };
  for (const Draft& draft : drafts) {
    if (!draft.enabled) continue;
    std::unordered_map<std::string_view, const pb::Command*> seen;
    for (const pb::Command& command : draft.commands) {
      const auto [place, added] = seen.try_emplace(command.name(), &command);
      if (added) continue;
      return basic(draft,
                   fmt::format("task '{}' has two commands called '{}': a {} and a {}", draft.name,
                               command.name(), type_of(*place->second), type_of(command)));
    }
  }
  return {};
}

}  // namespace cirrus::lang
