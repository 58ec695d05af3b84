// SPDX-License-Identifier: MIT
// What the parser knows of all commands, as plain values: manuals, the reference and completion
// are made from it, so that they cannot say anything else than `--help`.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace cirrus::cli {

struct CommandOption {
  std::vector<std::string> names;  ///< `-e`, `--environment`; of a positional its name alone
  std::string value;               ///< `FILE`; empty for a flag
  std::vector<std::string> choices;
  std::string help;
  std::string variable;  ///< environment variable; may be empty
  bool positional = false;
  bool required = false;
  bool repeated = false;  ///< a positional that takes any number of words
};

struct CommandNode {
  std::string name;  ///< `cirrus build submit`
  std::string help;
  std::string footer;  ///< examples
  std::vector<CommandOption> options;
  std::vector<CommandNode> commands;  ///< without hidden ones

  /// The command of these words (`build`, `submit`), as far as they name one; flags and their
  /// values are passed over. Never null.
  const CommandNode& find(const std::vector<std::string>& words) const;
  const CommandOption* option(const std::string& name) const;
  std::string last_name() const { return name.substr(name.rfind(' ') + 1); }
};

CommandNode command_tree(const CLI::App& root);

}  // namespace cirrus::cli
