// SPDX-License-Identifier: MIT
// Arms fail points as the environment says. Linked into `cirrus-test` and tests only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cirrus {

/// What a point does when it is reached for the `nth` time, and only then.
struct FailPointAction {
  enum class Kind { Kill, Error };
  Kind kind = Kind::Kill;
  std::uint64_t nth = 1;
  bool every = false;  ///< `@*`: each time
};

/// Reads `store.commit.before=kill@3,spool.write=error@*`: comma-separated `NAME=kill|error`, each
/// with an optional `@N` (the first time counts as 1; the default) or `@*` (every time).
/// Errors: InvalidArgument, naming the part that is wrong.
Result<std::map<std::string, FailPointAction>> parse_fail_points(std::string_view text);

/// Arms what `text` says and forgets what was armed and counted before; empty disarms everything.
/// Every reached point is appended to `log_path`, one name a line, before it acts; empty: not.
/// `kill` sends SIGKILL to this process; `error` is Unavailable and names the point.
Status arm_fail_points(std::string_view text, const std::string& log_path = {});

/// From `CIRRUS_FAIL_POINTS` and `CIRRUS_FAIL_POINTS_LOG`. Errors: InvalidArgument.
Status arm_fail_points_from_environment();

/// How often a point was reached since `arm_fail_points`.
std::uint64_t fail_point_hits(const std::string& name);

}  // namespace cirrus
