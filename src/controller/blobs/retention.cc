// SPDX-License-Identifier: MIT
#include "controller/blobs/retention.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/log.h"
#include "os/files.h"

namespace cirrus::controller::blobs {

namespace {
std::int64_t millis_of(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1000 + time.tv_nsec / 1'000'000;
}

std::string day_of(WallTime time) {
  return to_rfc3339(time).substr(0, 10);
}
}  // namespace

std::optional<std::string> expiry_note(const std::filesystem::path& directory_of_task) {
  const Result<std::string> note = os::read_file(directory_of_task / kExpiredMarker, 4096);
  if (!note.ok()) return std::nullopt;
  return note.value();
}

std::vector<Retention::Candidate> Retention::candidates(const std::filesystem::path& folder,
                                                        const StopToken& stop) const {
  std::vector<Candidate> found;
  std::error_code failure;
  for (const auto& task : std::filesystem::directory_iterator(folder, failure)) {
    if (stop.stop_requested()) break;
    if (!task.is_directory(failure)) continue;
    if (std::filesystem::exists(task.path() / kExpiredMarker, failure)) continue;
    Candidate candidate{task.path(), 0, 0};
    for (const auto& entry : std::filesystem::recursive_directory_iterator(task.path(), failure)) {
      struct ::stat facts {};
      if (::lstat(entry.path().c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) continue;
      candidate.bytes += static_cast<std::uint64_t>(facts.st_size);
      candidate.touched_millis = std::max(candidate.touched_millis, millis_of(facts.st_mtim));
    }
    if (candidate.touched_millis > 0) found.push_back(std::move(candidate));
  }
  std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
    return a.touched_millis < b.touched_millis;
  });
  return found;
}

Status Retention::expire(const Candidate& candidate, const std::string& why,
                         RetentionReport& report) const {
  // The note first: a reader sees the bytes or why they are gone, never nothing.
  const std::string note = fmt::format("Removed on {}: {}.\n", day_of(clock_.wall()), why);
  CIRRUS_TRY(os::write_file(candidate.directory / kExpiredMarker, note, 0600));
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(candidate.directory, failure)) {
    if (entry.path().filename() == kExpiredMarker) continue;
    CIRRUS_TRY(os::remove_tree(entry.path()));
  }
  report.bytes += candidate.bytes;
  log_info("old bytes removed", {{"directory", candidate.directory.string()}, {"why", why}});
  return {};
}

Status Retention::sweep_kind(const std::filesystem::path& folder, std::chrono::hours age,
                             std::uint64_t most_bytes, const std::function<bool()>& is_low,
                             std::uint64_t& count, RetentionReport& report,
                             const StopToken& stop) const {
  const std::vector<Candidate> all = candidates(folder, stop);
  std::uint64_t total = 0;
  for (const Candidate& candidate : all) total += candidate.bytes;
  const std::int64_t now = to_unix_millis(clock_.wall());
  const auto older_than = [&](const Candidate& candidate, std::chrono::hours limit) {
    return now - candidate.touched_millis > std::chrono::milliseconds(limit).count();
  };
  Status first;
  for (const Candidate& candidate : all) {
    if (stop.stop_requested()) return error(Code::Cancelled, "interrupted");
    if (!older_than(candidate, limits_.untouchable)) break;
    std::string why;
    if (age.count() > 0 && older_than(candidate, age)) {
      why = fmt::format("kept for {} days", age.count() / 24);
    } else if (most_bytes > 0 && total > most_bytes) {
      why =
          fmt::format("all of these together may have {} bytes, the oldest went first", most_bytes);
    } else if (is_low()) {
      why = "the controller's disk was nearly full, the oldest went first";
    } else {
      break;  // sorted by age: what follows is younger
    }
    const Status gone = expire(candidate, why, report);
    if (!gone.ok() && first.ok()) first = gone;
    if (gone.ok()) {
      ++count;
      total -= candidate.bytes;
    }
  }
  return first;
}

Result<RetentionReport> Retention::sweep(const std::function<std::uint64_t()>& free_bytes,
                                         const StopToken& stop) {
  RetentionReport report;
  const auto is_low = [&] { return free_bytes() < limits_.least_free_bytes; };
  // What can be made anew goes first. A quarter at a time, because something uses them.
  Status caches = caches_.evict();
  for (int i = 0; i < 8 && caches.ok() && is_low() && caches_.total_bytes() > 0; ++i) {
    caches = caches_.evict(caches_.total_bytes() / 4 * 3);
  }
  const Status artifacts = sweep_kind(paths_.artifacts(), limits_.artifacts, limits_.artifact_bytes,
                                      is_low, report.artifacts, report, stop);
  const Status logs =
      sweep_kind(paths_.logs(), limits_.logs, limits_.log_bytes, is_low, report.logs, report, stop);
  CIRRUS_TRY(caches);
  CIRRUS_TRY(artifacts);
  CIRRUS_TRY(logs);
  report.still_low = is_low();
  return report;
}

}  // namespace cirrus::controller::blobs
