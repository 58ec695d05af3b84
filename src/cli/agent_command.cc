// SPDX-License-Identifier: MIT
// `cirrus agent …`: the embedded agent, so that the reference's command line keeps working.
#include <unistd.h>

#include <cerrno>

#include <CLI/CLI.hpp>

#include "agent_embedded/embedded_agent.h"
#include "cli/command.h"
#include "os/files.h"
#include "os/host.h"

namespace cirrus::cli {

namespace {

int exec_agent(const std::vector<std::string>& arguments) {
  const std::filesystem::path directory = os::default_state_directory() / "agents";
  if (const Status made = os::make_directories(directory, 0755); !made.ok()) {
    complain(made.error().to_string());
    return kFailed;
  }
  const Result<std::filesystem::path> program = unpack_embedded_agent(directory);
  if (!program.ok()) {
    complain(program.error().to_string());
    return kFailed;
  }
  std::vector<std::string> texts{program.value().string()};
  texts.insert(texts.end(), arguments.begin(), arguments.end());
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  ::execv(list[0], list.data());
  complain(errno_error(errno, "cannot run '{}'", texts[0]).message());
  return kFailed;
}

}  // namespace

void add_agent_command(CLI::App& root, Invocation& invocation) {
  CLI::App* agent =
      root.add_subcommand("agent", "Run one task's instructions (started by workers)");
  agent->group("");  // hidden: nobody types it
  agent->prefix_command();
  agent->set_help_flag();
  agent->callback([agent, &invocation] {
    invocation.run = [arguments = agent->remaining()] { return exec_agent(arguments); };
  });
}

}  // namespace cirrus::cli
