// SPDX-License-Identifier: MIT
// Shells and terminals: who has them, and which attempts do.
#include "controller/core/state.h"

namespace cirrus::controller::core {

void State::order_shell(model::TaskId id, const Actor& actor, Reply<ShellPlace> reply,
                        Moment moment) {
  const auto found = tasks_.find(id);
  if (found == tasks_.end()) {
    return answer<ShellPlace>(std::move(reply), error(Code::NotFound, "no task {} runs", id));
  }
  const Task& task = found->second;
  if (task.record.status != model::TaskStatus::Executing || task.record.worker.empty()) {
    return answer<ShellPlace>(
        std::move(reply),
        error(Code::FailedPrecondition,
              "task {} is not being executed, so there is nowhere to open a shell", id));
  }
  audit(actor.name, "task.shell", id.to_string(), moment);
  ShellPlace place;
  place.worker = task.record.pool + "/" + task.record.worker;
  const auto pool = pools_.find(task.record.pool);
  place.recorded = pool != pools_.end() && pool->second.record_shells;
  const auto worker = workers_.find({task.record.pool, task.record.worker});
  if (worker == workers_.end() || !worker->second.record.instance.empty()) {
    // An old one, or one that has just lost its connection.
    place.absent = fmt::format("worker '{}' opens no shells now", place.worker);
  } else if (has_terminal(task)) {
    place.absent = fmt::format("the agent of task {} offers no terminal yet: try again", id);
  } else {
    place.absent = fmt::format(
        "task {} runs on a worker of the reference, whose agents offer a terminal only if they are "
        "told to at the start: when it has ended, run it again with 'cirrus task rerun {} "
        "--terminal'",
        id, id);
  }
  answer<ShellPlace>(std::move(reply), std::move(place));
}

void State::listen_for_shells(const WorkerCredential& credential, Reply<std::string> reply,
                              Moment moment) {
  const Result<WorkerKey> worker = identify(credential, moment);
  if (!worker.ok()) return answer<std::string>(std::move(reply), worker.error());
  answer<std::string>(std::move(reply), worker.value().first + "/" + worker.value().second);
}

}  // namespace cirrus::controller::core
