// SPDX-License-Identifier: MIT
// How a build looks on a terminal and in a pipe.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace cirrus::cli {

/// True for statuses that never change again.
bool is_final_status(const std::string& status);
/// `850ms`, `1.2s`, `3m05s`.
std::string human_duration(std::int64_t millis);

/// What evaluating the configuration found, one line each: `.cirrus.yml:5: warning: …`. Without
/// what is only information. Empty if there is nothing.
std::string render_issues(const nlohmann::json& build);
/// One line for each task that has failed already: `NAME: failed (why)`.
std::string render_failures(const nlohmann::json& build);

/// One line per task, in order, with status, duration, worker and reason.
std::string render_table(const nlohmann::json& build);

/// Shows a build as it changes: a tree that is drawn over itself on a terminal, else one line per
/// change.
class BuildView {
 public:
  explicit BuildView(bool terminal) : terminal_(terminal) {}
  /// What to print for the new state; may be empty.
  std::string update(const nlohmann::json& build);

 private:
  std::string redraw(const nlohmann::json& build);
  std::string changes(const nlohmann::json& build);

  const bool terminal_;
  std::size_t drawn_lines_ = 0;
  std::map<std::string, std::string> known_;  // task or step -> status
};

}  // namespace cirrus::cli
