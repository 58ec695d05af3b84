// SPDX-License-Identifier: MIT
#include "cli/completion.h"

#include <algorithm>

namespace cirrus::cli {

namespace {

// Which names stand where. Files are the shell's own business.
std::string kind_of(const CommandNode& node, const CommandOption& option) {
  const std::string& name = option.names.back();
  if (name == "--pool" || name == "pool") return "pool";
  if (name == "--context") return "context";
  if (!option.positional) return "";
  if (name == "id" || name == "task" || name == "build" || name == "worker" || name == "name") {
    if (node.name.find(" build ") != std::string::npos) return "build";
    if (node.name.find(" task ") != std::string::npos) return "task";
    if (node.name.find(" artifact ") != std::string::npos) return "task";
    if (node.name.find(" worker ") != std::string::npos) return "worker";
    if (node.name.find(" pool ") != std::string::npos) return "pool";
    if (node.name.find(" context ") != std::string::npos) return "context";
  }
  return "";
}

}  // namespace

std::vector<std::string> complete(
    const CommandNode& root, const std::vector<std::string>& words,
    const std::function<std::vector<std::string>(const std::string& kind)>& names) {
  const std::string last = words.empty() ? "" : words.back();
  std::vector<std::string> before = words;
  if (!before.empty()) before.pop_back();
  const CommandNode& node = root.find(before);
  std::vector<std::string> offers;
  const CommandOption* const waiting = before.empty() ? nullptr : node.option(before.back());
  if (waiting != nullptr && !waiting->value.empty()) {
    offers = waiting->choices;
    if (const std::string kind = kind_of(node, *waiting); !kind.empty()) offers = names(kind);
  } else if (last.starts_with('-')) {
    for (const CommandOption& option : node.options) {
      if (!option.positional) offers.insert(offers.end(), option.names.begin(), option.names.end());
    }
  } else {
    for (const CommandNode& command : node.commands) offers.push_back(command.last_name());
    for (const CommandOption& option : node.options) {
      if (!option.positional || !node.commands.empty()) continue;
      offers.insert(offers.end(), option.choices.begin(), option.choices.end());
      const std::string kind = kind_of(node, option);
      if (kind.empty()) continue;
      const std::vector<std::string> known = names(kind);
      offers.insert(offers.end(), known.begin(), known.end());
      break;
    }
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
