// SPDX-License-Identifier: MIT
// Figures for those who watch.
#include <algorithm>

#include "controller/core/state.h"

namespace cirrus::controller::core {

void LatencyHistogram::add(Duration time) {
  const double seconds = std::max(0.0, std::chrono::duration<double>(time).count());
  ++count_;
  sum_ += seconds;
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  if (bound != kBounds.end()) ++buckets_[static_cast<std::size_t>(bound - kBounds.begin())];
}

std::array<std::uint64_t, LatencyHistogram::kBounds.size()> LatencyHistogram::cumulative() const {
  std::array<std::uint64_t, kBounds.size()> sums = buckets_;
  for (std::size_t i = 1; i < sums.size(); ++i) sums[i] += sums[i - 1];
  return sums;
}

Statistics State::statistics(Moment moment) const {
  Statistics figures;
  figures.dispatch = dispatch_;
  figures.parked_polls = static_cast<int>(parked_.size());
  for (const WorkerView& worker : view_workers(moment)) ++figures.workers[worker.state];
  int looked_at = 0;
  Monotonic oldest = moment.now;
  for (const auto& [id, task] : tasks_) {
    ++figures.tasks[task.record.status];
    if (task.record.status != model::TaskStatus::Ready) continue;
    if (task.ready_at) oldest = std::min(oldest, *task.ready_at);
    if (++looked_at > Statistics::kReasonsLookedAt) {
      figures.waiting_complete = false;
      continue;
    }
    const model::WaitingReasons reasons = view(task).waiting_reasons;
    if (!reasons.empty()) ++figures.waiting[std::string(model::to_string(reasons.front().kind))];
  }
  figures.oldest_ready_seconds = std::chrono::duration<double>(moment.now - oldest).count();
  return figures;
}

}  // namespace cirrus::controller::core
