// SPDX-License-Identifier: MIT
#include "cli/command_tree.h"

#include <CLI/CLI.hpp>

#include "base/strings.h"

namespace cirrus::cli {

namespace {

// The parser puts the allowed values into the type's name: `TEXT:{text,json}`.
std::vector<std::string> choices_of(const std::string& type) {
  const std::size_t open = type.find('{');
  const std::size_t close = type.find('}', open);
  if (open == std::string::npos || close == std::string::npos) return {};
  return split(std::string_view(type).substr(open + 1, close - open - 1), ',');
}

CommandOption option_of(const CLI::Option& option) {
  CommandOption made;
  made.positional = option.get_positional();
  if (made.positional) {
    made.names.push_back(option.get_name(true));
  } else {
    for (const std::string& name : option.get_snames()) made.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) made.names.push_back("--" + name);
  }
  const std::string type = option.get_type_name();
  if (option.get_items_expected_max() > 0) {
    made.choices = choices_of(type);
    made.value = made.choices.empty() ? type : join(made.choices, "|");
  }
  made.help = option.get_description();
  made.variable = option.get_envname();
  made.required = option.get_required();
  made.repeated = made.positional && option.get_items_expected_max() > 1;
  return made;
}

CommandNode node_of(const CLI::App& app, const std::string& above) {
  CommandNode node;
  node.name = above.empty() ? app.get_name() : above + " " + app.get_name();
  node.help = app.get_description();
  node.footer = app.get_footer();
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    node.options.push_back(option_of(*option));
  }
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_group().empty()) continue;
    node.commands.push_back(node_of(*command, node.name));
  }
  return node;
}

}  // namespace

const CommandNode& CommandNode::find(const std::vector<std::string>& words) const {
  const CommandNode* node = this;
  for (const std::string& word : words) {
    for (const CommandNode& command : node->commands) {
      if (command.last_name() != word) continue;
      node = &command;
      break;
    }
  }
  return *node;
}

const CommandOption* CommandNode::option(const std::string& wanted) const {
  for (const CommandOption& option : options) {
    for (const std::string& each : option.names) {
      if (!option.positional && each == wanted) return &option;
    }
  }
  return nullptr;
}

CommandNode command_tree(const CLI::App& root) {
  return node_of(root, "");
}

}  // namespace cirrus::cli
