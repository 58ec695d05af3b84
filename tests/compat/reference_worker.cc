// SPDX-License-Identifier: MIT
// A program that stands in for a reference worker: it knows nothing of ours, and starts the program
// that stands in for the agent, outside of any isolation. Source: protocol §5, §6.
//
//   reference_worker ENDPOINT REGISTRATION-TOKEN NAME AGENT-PROGRAM DIRECTORY
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <iostream>
#include <map>

#include "controller/rpc/testing/scripted_peer.h"

namespace {

using cirrus::controller::ScriptedWorker;
using Assigned = cirrus::controller::api::PollResponse::AgentAwareTask;

std::atomic<bool> interrupted = false;

pid_t start_agent(const char* program, const char* endpoint, const char* directory,
                  const Assigned& task) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  (void)::setenv("CIRRUS_WORKING_DIR", directory, 1);
  ::execl(program, program, "agent", "-api-endpoint", endpoint, "-task-id", task.task_id().c_str(),
          "-client-token", task.client_secret().c_str(), "-server-token",
          task.server_secret().c_str(), nullptr);
  ::_exit(127);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: reference_worker ENDPOINT TOKEN NAME AGENT-PROGRAM DIRECTORY\n";
    return 2;
  }
  (void)::signal(SIGTERM, [](int) { interrupted = true; });
  ScriptedWorker worker(argv[1], argv[2], argv[3]);
  if (!worker.register_now().ok()) return 3;
  std::map<pid_t, Assigned> agents;
  while (!interrupted) {
    worker.running.clear();
    for (const auto& [agent, task] : agents) worker.running.push_back(task.task_id());
    cirrus::controller::api::PollResponse response;
    // A held poll would keep it from seeing how its agents end.
    (void)worker.poll(response, 1);
    for (const Assigned& task : response.tasks_to_start()) {
      agents[start_agent(argv[4], argv[1], argv[5], task)] = task;
      (void)worker.started(task);
    }
    for (const auto& [agent, task] : agents) {
      for (const std::string& stopped : response.tasks_to_stop()) {
        if (stopped == task.task_id()) (void)::kill(agent, SIGINT);
      }
    }
    for (pid_t ended = 0; (ended = ::waitpid(-1, nullptr, WNOHANG)) > 0;) {
      (void)worker.stopped(agents.extract(ended).mapped());
    }
  }
  for (const auto& [agent, task] : agents) (void)::kill(agent, SIGKILL);
  return 0;
}
