// SPDX-License-Identifier: MIT
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "base/stop.h"

namespace cirrus::controller::blobs {

/// A few threads for what may block: opening files, waiting for `git`. Jobs start in order.
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
    bool closed = false;
  };
  void work(const StopToken& stop);

  const std::size_t longest_queue_;  // constant after construction
  Guarded<Queue> queue_;
  std::vector<Thread> threads_;
};

}  // namespace cirrus::controller::blobs
