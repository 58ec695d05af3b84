// SPDX-License-Identifier: MIT
#include "cli/completion.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace cirrus::cli {

namespace {

// Which names stand where. Files are the shell's own business, and what is new has none yet.
constexpr std::pair<std::string_view, std::string_view> kKinds[] = {
    {"cirrus artifact get artifact", "artifact"},
    {"cirrus artifact get task", "task"},
    {"cirrus artifact list task", "task"},
    {"cirrus cache delete key", "cache"},
    {"cirrus cache delete repository", "repository"},
    {"cirrus cache list repository", "repository"},
    {"cirrus context remove name", "context"},
    {"cirrus context use name", "context"},
    {"cirrus pool token create pool", "pool"},
    {"cirrus pool token list pool", "pool"},
    {"cirrus pool token revoke id", "registration_token"},
    {"cirrus pool token rotate pool", "pool"},
    {"cirrus run tasks", "local_task"},
    {"cirrus task list id", "build"},
    {"cirrus task logs step", "step"},
    {"cirrus token revoke token", "token"},
};
/// Of all other commands of these nouns, as `NOUN VERB POSITIONAL`.
constexpr std::pair<std::string_view, std::string_view> kKindsOfNouns[] = {
    {"build id", "build"}, {"task id", "task"}, {"worker worker", "worker"}, {"pool name", "pool"}};

std::string kind_of(const CommandNode& node, const CommandOption& option) {
  const std::string& name = option.names.back();
  if (!option.positional) {
    return name == "--pool"      ? "pool"
           : name == "--context" ? "context"
           : name == "--repo"    ? "repository"
                                 : "";
  }
  const std::string place = node.name + " " + name;
  for (const auto& [known, kind] : kKinds) {
    if (known == place) return std::string(kind);
  }
  if (node.last_name() == "create" || node.last_name() == "add") return "";
  for (const auto& [known, kind] : kKindsOfNouns) {
    const std::size_t space = known.find(' ');
    const std::string noun = "cirrus " + std::string(known.substr(0, space)) + " ";
    if (node.name.starts_with(noun) && known.substr(space + 1) == name) return std::string(kind);
  }
  return "";
}

/// What stands before the word to be completed.
struct Before {
  const CommandNode* node = nullptr;
  std::vector<std::string> given;          ///< positional words of that command
  const CommandOption* waiting = nullptr;  ///< an option that wants its value next
};

Before read_words(const CommandNode& root, const std::vector<std::string>& words) {
  Before before;
  before.node = &root;
  for (const std::string& word : words) {
    if (before.waiting != nullptr) {
      before.waiting = nullptr;
      continue;
    }
    if (word.starts_with('-')) {
      const CommandOption* const option = before.node->option(word);
      if (option != nullptr && !option->value.empty()) before.waiting = option;
      continue;
    }
    const auto& commands = before.node->commands;
    const auto found = std::find_if(commands.begin(), commands.end(), [&](const auto& command) {
      return command.last_name() == word;
    });
    if (found != commands.end()) {
      before.node = &*found;
      before.given.clear();
    } else if (commands.empty()) {
      before.given.push_back(word);
    }
  }
  return before;
}

/// The positional that comes after so many; null: there is none.
const CommandOption* positional_at(const CommandNode& node, std::size_t position) {
  const CommandOption* last = nullptr;
  for (const CommandOption& option : node.options) {
    if (!option.positional) continue;
    if (position-- == 0) return &option;
    last = &option;
  }
  return last != nullptr && last->repeated ? last : nullptr;
}

}  // namespace

std::vector<std::string> complete(const CommandNode& root, const std::vector<std::string>& words,
                                  const KnownNames& names) {
  const std::string last = words.empty() ? "" : words.back();
  const Before before = read_words(
      root, words.empty() ? words : std::vector<std::string>(words.begin(), words.end() - 1));
  const CommandNode& node = *before.node;
  std::vector<std::string> offers;
  const auto offer_values = [&](const CommandOption& option) {
    offers = option.choices;
    if (const std::string kind = kind_of(node, option); !kind.empty()) {
      offers = names(kind, before.given);
    }
  };
  if (before.waiting != nullptr) {
    offer_values(*before.waiting);
  } else if (last.starts_with('-')) {
    for (const CommandOption& option : node.options) {
      if (!option.positional) offers.insert(offers.end(), option.names.begin(), option.names.end());
    }
  } else if (!node.commands.empty()) {
    for (const CommandNode& command : node.commands) offers.push_back(command.last_name());
  } else if (const CommandOption* const next = positional_at(node, before.given.size())) {
    offer_values(*next);
  }
  std::erase_if(offers, [&](const std::string& offer) { return !offer.starts_with(last); });
  return offers;
}

std::string completion_script(const std::string& shell) {
  if (shell == "bash") {
    return R"(# cirrus completion for bash: source <(cirrus completion bash)
_cirrus() {
  local IFS=$'\n'
  COMPREPLY=($(cirrus __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _cirrus cirrus
)";
  }
  if (shell == "zsh") {
    return R"(#compdef cirrus
# cirrus completion for zsh: source <(cirrus completion zsh)
_cirrus() {
  local -a offers
  offers=("${(@f)$(cirrus __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${offers[1]}" ]]; then compadd -a offers; else _files; fi
}
compdef _cirrus cirrus
)";
  }
  if (shell == "fish") {
    return R"(# cirrus completion for fish: cirrus completion fish | source
function __cirrus_complete
  set -l words (commandline -opc) (commandline -ct)
  cirrus __complete -- $words[2..-1] 2>/dev/null
end
complete -c cirrus -a '(__cirrus_complete)'
)";
  }
  return "";
}

}  // namespace cirrus::cli
