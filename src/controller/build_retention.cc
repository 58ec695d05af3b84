// SPDX-License-Identifier: MIT
#include "controller/build_retention.h"

#include "base/fail_point.h"
#include "base/log.h"
#include "os/files.h"

namespace cirrus::controller {

Result<BuildRetentionReport> BuildRetention::sweep(const StopToken& stop) {
  BuildRetentionReport report;
  const std::int64_t now = to_unix_millis(core_.clock().wall());
  const auto before = [&](std::chrono::hours age) {
    return now - std::chrono::milliseconds(age).count();
  };
  // First what a crash left.
  Status done = remove_bytes(report, stop);
  if (limits_.age.count() > 0) {
    CIRRUS_TRY(
        remove_all({before(limits_.age), 0, limits_.batch},
                   fmt::format("finished builds are kept for {} days", limits_.age.count() / 24),
                   report, stop));
  }
  if (limits_.most > 0) {
    CIRRUS_TRY(remove_all({before(limits_.untouchable), limits_.most, limits_.batch},
                          limits_.most == 1
                              ? "only the newest build is kept"
                              : fmt::format("only the newest {} builds are kept", limits_.most),
                          report, stop));
  }
  const Status gone = remove_bytes(report, stop);
  if (done.ok()) done = gone;
  CIRRUS_TRY(done);
  return report;
}

Status BuildRetention::remove_all(const store::RemovalQuery& query, const std::string& why,
                                  BuildRetentionReport& report, const StopToken& stop) {
  while (!stop.stop_requested()) {
    core::State::Removed offered = CIRRUS_TRY(core_.store().list_removable(query));
    if (offered.empty()) return {};
    for (store::RemovedBuildRecord& build : offered) build.why = why;
    const core::State::Removed gone = CIRRUS_TRY(core_.ask<core::State::Removed>(
        [&](core::State& state, core::Reply<core::State::Removed> reply, core::Moment moment) {
          state.remove_builds(std::move(offered), "retention", std::move(reply), moment);
        }));
    crash_point("retention.rows.removed");
    report.builds += gone.size();
    if (gone.empty()) return {};  // all of them go on: they are not offered for long
  }
  return error(Code::Cancelled, "interrupted");
}

Status BuildRetention::remove_bytes(BuildRetentionReport& report, const StopToken& stop) {
  Status first;
  for (model::BuildId after;;) {
    const core::State::Removed unswept =
        CIRRUS_TRY(core_.store().list_unswept(after, limits_.batch));
    if (unswept.empty()) return first;
    after = unswept.back().id;
    core::State::Removed swept;
    for (const store::RemovedBuildRecord& build : unswept) {
      if (stop.stop_requested()) return error(Code::Cancelled, "interrupted");
      const Status gone = remove_bytes_of(build);
      if (!gone.ok() && first.ok()) first = gone;
      if (!gone.ok()) continue;
      report.tasks += build.tasks.size();
      swept.push_back(build);
    }
    CIRRUS_TRY(core_.ask<void>([&](core::State& state, core::Reply<void> reply, core::Moment) {
      state.builds_swept(std::move(swept), std::move(reply));
    }));
  }
}

Status BuildRetention::remove_bytes_of(const store::RemovedBuildRecord& build) const {
  for (const model::TaskId task : build.tasks) {
    for (const auto& folder :
         {paths_.logs_of(task), paths_.artifacts_of(task), paths_.reports_of(task)}) {
      CIRRUS_TRY(os::remove_tree(folder));
    }
  }
  return {};
}

}  // namespace cirrus::controller
