// SPDX-License-Identifier: MIT
#include "base/work_pool.h"

#include <utility>

namespace cirrus {

WorkPool::WorkPool(std::size_t threads, std::size_t longest_queue)
    : most_threads_(threads), longest_queue_(longest_queue) {}

WorkPool::~WorkPool() {
  stop();
}

bool WorkPool::run(Job job) {
  return queue_.update([&](Queue& queue) {
    if (queue.closed || queue.jobs.size() >= longest_queue_) return false;
    queue.jobs.push_back(std::move(job));
    if (queue.jobs.size() > queue.free && queue.threads.size() < most_threads_) {
      queue.threads.emplace_back([this](const StopToken& stop) { work(stop); });
    }
    return true;
  });
}

void WorkPool::stop() {
  // The jobs that wait are destroyed, and the threads joined, outside the lock.
  std::deque<Job> dropped;
  std::vector<Thread> threads;
  queue_.update([&](Queue& queue) {
    queue.closed = true;
    dropped = std::exchange(queue.jobs, {});
    threads = std::exchange(queue.threads, {});
  });
  for (Thread& thread : threads) thread.request_stop();
  threads.clear();
}

void WorkPool::work(const StopToken& stop) {
  while (!stop.stop_requested()) {
    queue_.with([](Queue& queue) { ++queue.free; });
    Job job = queue_.wait(
        stop, [](const Queue& queue) { return !queue.jobs.empty(); },
        [](Queue& queue, bool ready) {
          --queue.free;
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

}  // namespace cirrus
