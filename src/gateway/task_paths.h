// SPDX-License-Identifier: MIT
// The only place that builds paths of a task on its worker.
//
//   <state>/tasks/<id>/                 0700  private: never visible inside an isolation
//     task.pb                           the task and its phase (worker/task_record.h)
//     agent.lock                        flock held = the agent lives
//     agent.log                         what the agent itself prints
//     spool/<step>                      log bytes; the file offset is the log offset
//     spool/<step>.name                 the step's real name
//     reference-agent.pb                what a reference agent is told, if that is the agent
//     passing/                          artifacts of a reference agent on their way
//     results/<sequence>                events of the agent, forwarded in order, then removed
//     scratch/                          script and CIRRUS_ENV files (isolation none)
//   <run>/<short id>/guest/             0755 below a 0700 parent
//     gateway.sock                      0666, and nothing else in there
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace cirrus::gateway {

struct TaskPaths {
  /// `<state>/tasks/<id>`.
  std::filesystem::path directory;
  /// `<run>/<short id>`, recorded in task.pb because <run> may differ after a restart.
  std::filesystem::path run_directory;

  std::filesystem::path record() const { return directory / "task.pb"; }
  std::filesystem::path lock() const { return directory / "agent.lock"; }
  std::filesystem::path agent_log() const { return directory / "agent.log"; }
  std::filesystem::path spool() const { return directory / "spool"; }
  std::filesystem::path results() const { return directory / "results"; }
  std::filesystem::path reference_agent() const { return directory / "reference-agent.pb"; }
  std::filesystem::path scratch() const { return directory / "scratch"; }
  std::filesystem::path guest() const { return run_directory / "guest"; }
  std::filesystem::path socket() const { return guest() / "gateway.sock"; }
};

/// A file name for a step: letters, digits, `_` and `-` stay, every other byte becomes `%XX`.
/// Names longer than 120 bytes end in a hash of the whole.
std::string file_name_of_step(std::string_view step);

}  // namespace cirrus::gateway
