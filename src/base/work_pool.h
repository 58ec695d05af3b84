// SPDX-License-Identifier: MIT
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "base/stop.h"

namespace cirrus {

/// A few threads for what may block. Jobs start in order. A thread is made when there is a job and
/// none is free, so a pool that is not used costs nothing.
class WorkPool {
 public:
  using Job = std::function<void(const StopToken& stop)>;

  WorkPool(std::size_t threads, std::size_t longest_queue);
  /// Requests stop of running jobs, drops those that wait, joins.
  ~WorkPool();
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  /// False: the queue is full, or the pool is ending; the job will not run.
  [[nodiscard]] bool run(Job job);
  /// As the destructor. Safe to call twice.
  void stop();

 private:
  struct Queue {
    std::deque<Job> jobs;
    std::size_t free = 0;  // threads that wait for a job
    bool closed = false;
    std::vector<Thread> threads;
  };
  void work(const StopToken& stop);

  // Constant after construction.
  const std::size_t most_threads_;
  const std::size_t longest_queue_;
  Guarded<Queue> queue_;
};

}  // namespace cirrus
