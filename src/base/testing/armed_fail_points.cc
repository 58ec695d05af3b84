// SPDX-License-Identifier: MIT
#include "base/testing/armed_fail_points.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdlib>

#include "base/fail_point.h"
#include "base/guarded.h"
#include "base/strings.h"

namespace cirrus {

namespace {
struct Armed {
  std::map<std::string, FailPointAction> actions;
  std::map<std::string, std::uint64_t> hits;
  int log = -1;
};

Guarded<Armed>& armed() {
  static Guarded<Armed> state;
  return state;
}

/// The line is in the file before the point acts: a test that kills at one knows which.
void note(int log, const std::string& name) {
  if (log < 0) return;
  const std::string line = name + "\n";
  const ssize_t written = ::write(log, line.data(), line.size());
  CIRRUS_CHECK(written == static_cast<ssize_t>(line.size()), "the log of fail points is lost");
}

Status reach(const char* name) {
  return armed().with([&](Armed& state) -> Status {
    const std::uint64_t hit = ++state.hits[name];
    note(state.log, name);
    const auto found = state.actions.find(name);
    if (found == state.actions.end()) return {};
    const FailPointAction& action = found->second;
    if (!action.every && action.nth != hit) return {};
    if (action.kind == FailPointAction::Kind::Kill) {
      ::kill(::getpid(), SIGKILL);
      ::pause();  // the signal may take a moment; nothing of ours may run after it
    }
    return error(Code::Unavailable, "fail point '{}' says so", name);
  });
}
}  // namespace

Result<std::map<std::string, FailPointAction>> parse_fail_points(std::string_view text) {
  std::map<std::string, FailPointAction> actions;
  if (trim(text).empty()) return actions;
  for (const std::string& part : split(text, ',')) {
    const std::size_t equals = part.find('=');
    const std::size_t at = part.find('@');
    const auto wrong = [&] {
      return error(Code::InvalidArgument,
                   "'{}' is no fail point: write NAME=kill or NAME=error, then @N or @* at will",
                   part);
    };
    if (equals == std::string::npos || equals == 0) return wrong();
    if (at != std::string::npos && at < equals) return wrong();
    FailPointAction action;
    const std::string what =
        part.substr(equals + 1, at == std::string::npos ? at : at - equals - 1);
    if (what == "error") {
      action.kind = FailPointAction::Kind::Error;
    } else if (what != "kill") {
      return wrong();
    }
    if (at != std::string::npos) {
      const std::string nth = part.substr(at + 1);
      action.every = nth == "*";
      const char* const end = nth.data() + nth.size();
      if (!action.every) {
        const auto [stopped, failure] = std::from_chars(nth.data(), end, action.nth);
        if (failure != std::errc() || stopped != end || action.nth == 0) return wrong();
      }
    }
    actions[part.substr(0, equals)] = action;
  }
  return actions;
}

Status arm_fail_points(std::string_view text, const std::string& log_path) {
  std::map<std::string, FailPointAction> actions = CIRRUS_TRY(parse_fail_points(text));
  int log = -1;
  if (!log_path.empty()) {
    log = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) return errno_error(errno, "cannot open the log of fail points '{}'", log_path);
  }
  armed().with([&](Armed& state) {
    if (state.log >= 0) ::close(state.log);
    state.actions = std::move(actions);
    state.hits.clear();
    state.log = log;
  });
  set_fail_point_hook(reach);
  return {};
}

Status arm_fail_points_from_environment() {
  const char* const points = std::getenv("CIRRUS_FAIL_POINTS");
  const char* const log = std::getenv("CIRRUS_FAIL_POINTS_LOG");
  return arm_fail_points(points == nullptr ? "" : points, log == nullptr ? "" : log)
      .note("reading CIRRUS_FAIL_POINTS");
}

std::uint64_t fail_point_hits(const std::string& name) {
  return armed().with([&](Armed& state) {
    const auto found = state.hits.find(name);
    return found == state.hits.end() ? 0 : found->second;
  });
}

}  // namespace cirrus
