// SPDX-License-Identifier: MIT
#include "controller/blobs/work_pool.h"

namespace cirrus::controller::blobs {

WorkPool::WorkPool(std::size_t threads, std::size_t longest_queue) : longest_queue_(longest_queue) {
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this](const StopToken& stop) { work(stop); });
  }
}

WorkPool::~WorkPool() {
  stop();
}

bool WorkPool::run(Job job) {
  return queue_.update([&](Queue& queue) {
    if (queue.closed || queue.jobs.size() >= longest_queue_) return false;
    queue.jobs.push_back(std::move(job));
    return true;
  });
}

void WorkPool::stop() {
  // The jobs that wait are destroyed outside the lock.
  const std::deque<Job> dropped = queue_.update([](Queue& queue) {
    queue.closed = true;
    return std::exchange(queue.jobs, {});
  });
  for (Thread& thread : threads_) thread.request_stop();
  threads_.clear();
}

void WorkPool::work(const StopToken& stop) {
  while (!stop.stop_requested()) {
    Job job = queue_.wait(
        stop, [](const Queue& queue) { return !queue.jobs.empty(); },
        [](Queue& queue, bool ready) {
          Job next;
          if (ready) {
            next = std::move(queue.jobs.front());
            queue.jobs.pop_front();
          }
          return next;
        });
    if (job) job(stop);
  }
}

}  // namespace cirrus::controller::blobs
