// SPDX-License-Identifier: MIT
// What is sent to workers and agents about one attempt.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "controller/core/calls.h"
#include "controller/core/task_spec.h"
#include "controller/store/records.h"

namespace cirrus::controller::core {

/// Opens the sealed values among a task's variables, in place, and returns them; whoever makes the
/// core gives it the key. Thread-safe. May be empty: nothing is opened then.
using OpenSecrets = std::function<std::vector<std::string>(
    const std::string& repository, google::protobuf::Map<std::string, std::string>& variables)>;

/// Facts about the build that tasks see in their environment.
struct TaskContext {
  const store::BuildRecord& build;
  const store::TaskRecord& task;
  const TaskSpec& spec;
  int index = 0;                ///< of the task in its build
  int total = 0;                ///< tasks in the build
  const std::string& http_url;  ///< base of the git endpoint
  const OpenSecrets& open_secrets;
  /// The step in which the attempt waits for people at a terminal; empty: it does not.
  std::string terminal_step;
};

/// The values agents must not show: the clone token and what was opened for the task.
std::vector<std::string> secrets_of(const TaskContext& context);

/// The full answer to InitialCommands. Source: protocol §7.1, agent §5.2.
api::CommandsResponse commands_message(const TaskContext& context);

/// One assignment, without commands.
api::PollResponse::AgentAwareTask assignment_message(const TaskContext& context);

}  // namespace cirrus::controller::core
