// SPDX-License-Identifier: MIT
// Finished builds that are removed for good.
#include <algorithm>

#include "base/log.h"
#include "controller/core/state.h"

namespace cirrus::controller::core {

namespace {
/// For so long a request may act on rows it read before they went. Ours: far above any request's
/// time, and few enough to remember.
constexpr std::chrono::minutes kInFlight{10};
}  // namespace

void State::remove_builds(Removed builds, const Actor& actor, Reply<Removed> reply, Moment moment) {
  for (; !removed_at_.empty() && removed_at_.front().first + kInFlight < moment.now;
       removed_at_.pop_front()) {
    removed_.erase(removed_at_.front().second);
  }
  Removed gone;
  for (store::RemovedBuildRecord& build : builds) {
    if (const Build* const known = find_build(build.id)) {
      if (in_use(*known)) continue;
      // It may have run again since it was offered, so what is in memory counts.
      build.tasks.clear();
      for (const auto& [number, node] : known->nodes) {
        build.tasks.insert(build.tasks.end(), node.attempts.begin(), node.attempts.end());
      }
      std::sort(build.tasks.begin(), build.tasks.end());
      build.last_task = build.tasks.empty() ? 0 : build.tasks.back().value;
      forget_build(build.id);
    }
    build.removed_ms = moment.millis();
    removed_.insert(build.id);
    removed_at_.emplace_back(moment.now, build.id);
    gone.push_back(std::move(build));
  }
  if (!gone.empty()) {
    const auto [first, last] = std::minmax_element(
        gone.begin(), gone.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    audit(actor.name, "build.remove",
          fmt::format("{} of {} to {}: {}", gone.size(), first->id, last->id, gone.front().why),
          moment);
    changes_.removed_builds.insert(changes_.removed_builds.end(), gone.begin(), gone.end());
    log_info("old builds removed", {{"builds", gone.size()}, {"why", gone.front().why}});
  }
  answer<Removed>(std::move(reply), std::move(gone));
}

void State::builds_swept(Removed builds, Reply<void> reply) {
  for (store::RemovedBuildRecord& build : builds) {
    build.tasks.clear();
    changes_.removed_builds.push_back(std::move(build));
  }
  answer<void>(std::move(reply), Result<void>());
}

}  // namespace cirrus::controller::core
