// SPDX-License-Identifier: MIT
// What happens because time passes.
#include <algorithm>

#include "base/log.h"
#include "controller/core/state.h"

namespace cirrus::controller::core {

namespace {
/// The reference accepts 4 MiB; some room for what is not counted.
constexpr std::size_t kResponseBudget = 3U << 20U;
constexpr std::size_t kCommandsLimit = 1U << 20U;
}  // namespace

void State::settle(Moment moment) {
  place_tasks(moment);
  expire_polls(moment);
  if (moment.now >= next_silence_check_) {
    next_silence_check_ = moment.now + std::chrono::seconds(1);
    judge_silence(moment);
    judge_tasks(moment);
    review_avoided();
    place_tasks(moment);
  }
}

void State::place_tasks(Moment moment) {
  const std::vector<scheduler::Placement> placements = scheduler_.place();
  if (placements.empty()) return;
  std::map<scheduler::WorkerIndex, api::PollResponse> answers;
  std::map<scheduler::WorkerIndex, std::size_t> sizes;
  for (const scheduler::Placement& placement : placements) {
    Task& task = tasks_.at(placement.task);
    Worker& worker = *worker_by_index_.at(placement.worker);
    move_to(task, model::TaskStatus::Assigned);
    task.record.pool = worker.record.pool;
    task.record.worker = worker.record.name;
    task.record.holds_worker = true;
    task.record.assigned_ms = moment.millis();
    if (task.ready_at) dispatch_.add(moment.now - *task.ready_at);
    task.last_heard = moment.now;
    task.missing_polls = 0;
    worker.held.insert(placement.task);
    active_.insert(placement.task);
    update_status_of(*task.build, moment);

    const TaskContext context = context_of(task);
    api::PollResponse& response = answers[placement.worker];
    api::PollResponse::AgentAwareTask& assignment = *response.add_tasks_to_start();
    assignment = assignment_message(context);
    if (worker.features.commands) {
      api::CommandsResponse commands = commands_message(context);
      const std::size_t size = commands.ByteSizeLong();
      if (size <= kCommandsLimit && sizes[placement.worker] + size <= kResponseBudget) {
        sizes[placement.worker] += size;
        *assignment.mutable_cirrus_commands() = std::move(commands);
      }
    }
    log_info("task assigned", {{"task", placement.task}, {"worker", worker.record.name}});
  }
  for (auto& [index, response] : answers) {
    answer_poll(*worker_by_index_.at(index), std::move(response));
  }
}

void State::expire_polls(Moment moment) {
  while (!parked_.empty() && parked_.begin()->first <= moment.now) {
    answer_poll(*worker_by_index_.at(parked_.begin()->second), {});
  }
}

void State::release_polls(Moment moment) {
  static_cast<void>(moment);
  answer_all_polls();
}

void State::judge_silence(Moment moment) {
  for (auto& [key, worker] : workers_) {
    if (worker.held.empty() && (worker.silent || !worker.polled)) continue;
    // A reference worker that warms a stand-by does not poll for minutes, but its agents beat.
    Monotonic contact = worker.polled ? worker.last_poll : started_;
    for (const model::TaskId id : worker.held) {
      const Task& task = tasks_.at(id);
      if (task.agent_heard) contact = std::max(contact, task.last_heard);
    }
    const auto quiet = moment.now - contact;
    if (quiet < options_.timing.silent_after) continue;
    if (!worker.silent) {
      worker.silent = true;
      publish(worker);
      log_warning("worker is silent", {{"worker", key.second}});
    }
    const auto pool = pools_.find(key.first);
    const std::chrono::milliseconds lost_after(pool == pools_.end() ? 600'000
                                                                    : pool->second.lost_after_ms);
    // After an outage of our own, workers get the whole time again.
    const auto silence = moment.now - std::max(contact, started_);
    for (const model::TaskId id : std::set<model::TaskId>(worker.held)) {
      Task& task = tasks_.at(id);
      if (silence >= lost_after) {
        const bool once_only = task.spec->stateful || !task.spec->execution_lock.empty();
        if (model::is_final(task.record.status)) {
          release_worker(task, moment);
        } else if (!once_only || task.record.status == model::TaskStatus::Assigned) {
          run_again(task,
                    fmt::format("worker '{}' was not heard of for {} s", key.second,
                                std::chrono::duration_cast<std::chrono::seconds>(silence).count()),
                    moment);
        } else if (moment.now >= task.deadline + options_.timing.orphan_margin) {
          // It may have run to its end, or not at all: somebody has to look. But it cannot run any
          // more, so it need not keep its lock and its build for ever.
          finish(task, model::TaskStatus::Failed,
                 fmt::format("worker '{}' was not heard of until the task's time was over; it is "
                             "not run again by itself because it is stateful or holds a lock",
                             key.second),
                 moment);
          release_worker(task, moment);
        }
      } else if (!task.unreachable && model::is_running(task.record.status)) {
        task.unreachable = true;
        touch(*task.build);
      }
    }
  }
}

void State::judge_tasks(Moment moment) {
  for (const model::TaskId id : std::set<model::TaskId>(active_)) {
    const auto found = tasks_.find(id);
    if (found == tasks_.end()) continue;
    Task& task = found->second;
    if (task.record.status != model::TaskStatus::Executing) continue;
    const auto host = workers_.find({task.record.pool, task.record.worker});
    const bool host_talks = host != workers_.end() && host->second.polled && !host->second.silent;
    if (moment.now >= task.deadline && host_talks) {
      finish(task, model::TaskStatus::Failed,
             fmt::format("timed out: it was given {} s and did not end by itself",
                         task.spec->timeout.count()),
             moment);
      want_stop(task, moment);
      continue;
    }
    // Our worker vouches for its agents in every poll; a reference worker cannot.
    const bool vouched = host != workers_.end() && !host->second.record.instance.empty();
    if (host_talks && !vouched && task.agent_heard &&
        moment.now - task.last_heard >= options_.timing.agent_silent_after) {
      finish(task, model::TaskStatus::Failed, "its agent stopped answering", moment);
      want_stop(task, moment);
    }
  }
}

std::chrono::milliseconds State::next_wake(Moment moment) const {
  using std::chrono::milliseconds;
  // Holds end up to 50 ms late, so that thousands of them share a wake-up.
  constexpr milliseconds kSlack{50};
  const milliseconds idle = active_.empty() ? milliseconds(5000) : milliseconds(1000);
  if (parked_.empty()) return idle;
  const auto until = std::chrono::duration_cast<milliseconds>(parked_.begin()->first - moment.now);
  return std::clamp(until + kSlack, milliseconds(1), idle);
}

}  // namespace cirrus::controller::core
