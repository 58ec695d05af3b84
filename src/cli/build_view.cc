// SPDX-License-Identifier: MIT
#include "cli/build_view.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/strings.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

std::string text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t number(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<std::int64_t>() : 0;
}

const json& list(const json& object, const char* key) {
  static const json empty = json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : empty;
}

// Text from a build must not move the cursor or change colours.
std::string printable(const std::string& raw) {
  std::string clean;
  for (const char c : raw) {
    const bool control = static_cast<unsigned char>(c) < ' ' || c == '\x7f';
    clean += control ? ' ' : c;
  }
  return clean;
}

const char* mark_of(const std::string& status) {
  if (status == "completed") return "\u2713";
  if (status == "failed") return "\u2717";
  if (status == "aborted") return "\u2298";
  if (status == "skipped") return "-";
  if (status == "executing") return "\u25B6";
  return "\u00B7";
}

const char* colour_of(const std::string& status) {
  if (status == "completed") return "\x1b[32m";
  if (status == "failed" || status == "aborted") return "\x1b[31m";
  if (status == "executing") return "\x1b[33m";
  return "\x1b[2m";
}

std::string note_of(const json& task) {
  std::string note = text(task, "reason");
  if (note.empty()) note = text(task, "waiting_reason");
  if (note.empty() && task.value("allow_failures", false) && text(task, "status") == "failed") {
    note = "failure allowed";
  }
  return printable(note);
}

std::string running_step(const json& task) {
  for (const json& step : list(task, "steps")) {
    if (text(step, "status") == "executing") return printable(text(step, "name"));
  }
  return {};
}

}  // namespace

bool is_final_status(const std::string& status) {
  return status == "completed" || status == "failed" || status == "aborted" || status == "skipped";
}

std::string human_duration(std::int64_t millis) {
  if (millis <= 0) return "";
  if (millis < 1000) return fmt::format("{}ms", millis);
  if (millis < 60'000) return fmt::format("{:.1f}s", static_cast<double>(millis) / 1000.0);
  return fmt::format("{}m{:02}s", millis / 60'000, millis / 1000 % 60);
}

std::string render_issues(const json& build) {
  std::string lines;
  for (const json& issue : list(build, "issues")) {
    const std::string level = text(issue, "level");
    if (level == "info") continue;
    const std::string path = printable(text(issue, "path"));
    lines += fmt::format("{}:{}: {}: {}\n", path.empty() ? ".cirrus.yml" : path,
                         number(issue, "line"), level, printable(text(issue, "message")));
  }
  return lines;
}

std::string render_failures(const json& build) {
  std::string lines;
  for (const json& task : list(build, "tasks")) {
    if (text(task, "status") != "failed") continue;
    lines += fmt::format("{}: failed ({})\n", printable(text(task, "name")), note_of(task));
  }
  return lines;
}

std::string render_table(const json& build) {
  std::size_t width = 4;
  for (const json& task : list(build, "tasks")) width = std::max(width, text(task, "name").size());
  width = std::min<std::size_t>(width, 60);
  std::string table = fmt::format("{:<8} {:<{}} {:<10} {:>9}  {}\n", "TASK", "NAME", width,
                                  "STATUS", "DURATION", "NOTE");
  for (const json& task : list(build, "tasks")) {
    table += fmt::format("{:<8} {:<{}} {:<10} {:>9}  {}\n", text(task, "id"),
                         shorten(printable(text(task, "name")), 60), width, text(task, "status"),
                         human_duration(number(task, "duration_ms")), note_of(task));
  }
  return table;
}

std::string BuildView::update(const json& build) {
  return terminal_ ? redraw(build) : changes(build);
}

std::string BuildView::redraw(const json& build) {
  std::string screen;
  if (drawn_lines_ > 0) screen += fmt::format("\x1b[{}A\r\x1b[J", drawn_lines_);
  drawn_lines_ = 0;
  const auto line = [&](const std::string& content) {
    screen += content + "\n";
    ++drawn_lines_;
  };
  line(fmt::format("build {} of {} ({})", text(build, "id"), printable(text(build, "repository")),
                   text(build, "status")));
  for (const json& task : list(build, "tasks")) {
    const std::string status = text(task, "status");
    std::string detail = status;
    if (const std::string step = running_step(task); !step.empty()) detail += ": " + step;
    if (const std::string time = human_duration(number(task, "duration_ms")); !time.empty()) {
      detail += " " + time;
    }
    if (const std::string note = note_of(task); !note.empty())
      detail += " (" + shorten(note, 80) + ")";
    line(fmt::format("  {}{}\x1b[0m {}  {}", colour_of(status), mark_of(status),
                     shorten(printable(text(task, "name")), 50), detail));
  }
  return screen;
}

std::string BuildView::changes(const json& build) {
  std::string lines;
  for (const json& task : list(build, "tasks")) {
    const std::string id = text(task, "id");
    const std::string name = printable(text(task, "name"));
    const std::string status = text(task, "status");
    for (const json& step : list(task, "steps")) {
      const std::string step_status = text(step, "status");
      std::string& known = known_[id + "/" + text(step, "name")];
      if (known == step_status || !is_final_status(step_status)) continue;
      known = step_status;
      lines += fmt::format("{}: {} {} {}\n", name, printable(text(step, "name")), step_status,
                           human_duration(number(step, "duration_ms")));
    }
    std::string& known = known_[id];
    if (known == status) continue;
    known = status;
    const std::string note = note_of(task);
    lines += fmt::format("{}: {}{}\n", name, status, note.empty() ? "" : " (" + note + ")");
  }
  return lines;
}

}  // namespace cirrus::cli
