// SPDX-License-Identifier: MIT
#include "worker/settings_changes.h"

#include <algorithm>
#include <set>

#include "base/strings.h"

namespace cirrus::worker {

namespace {

template <typename Map>
std::string list_of(const Map& map) {
  std::string text;
  for (const auto& [key, value] : map) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", key, value);
  }
  return text.empty() ? "none" : text;
}

std::string list_of(const std::optional<std::vector<std::string>>& names) {
  return names ? "[" + join(*names, ", ") + "]" : "all";
}

std::string time_of(std::optional<std::chrono::milliseconds> time) {
  return time ? fmt::format("{}ms", time->count()) : "none";
}

class Changes {
 public:
  template <typename Value>
  void compare(std::string_view what, const Value& before, const Value& after) {
    if (before != after) lines_.push_back(fmt::format("{}: {} -> {}", what, before, after));
  }
  // As they are written in the file, for all keys below `prefix`.
  void compare_written(std::string_view prefix, const Settings& before, const Settings& after,
                       std::string_view more = {}) {
    std::set<std::string> keys;
    for (const Settings* settings : {&before, &after}) {
      for (const auto& [key, value] : settings->written) {
        if (key == prefix || key.starts_with(std::string(prefix) + ".")) keys.insert(key);
      }
    }
    for (const std::string& key : keys) {
      const std::string old = text_of(before, key);
      const std::string fresh = text_of(after, key);
      if (old != fresh) lines_.push_back(fmt::format("{}: {} -> {}{}", key, old, fresh, more));
    }
  }
  void restart(std::string_view what, bool changed) {
    if (changed) lines_.push_back(fmt::format("{}: takes effect after a restart", what));
  }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  static std::string text_of(const Settings& settings, const std::string& key) {
    const auto found = settings.written.find(key);
    return found == settings.written.end() ? "absent" : found->second;
  }

  std::vector<std::string> lines_;
};

bool same_upstreams(const Settings& before, const Settings& after) {
  return std::equal(
      before.upstreams.begin(), before.upstreams.end(), after.upstreams.begin(),
      after.upstreams.end(), [](const UpstreamSettings& a, const UpstreamSettings& b) {
        return a.endpoint == b.endpoint && a.tls == b.tls && a.token.matches(b.token.reveal());
      });
}

}  // namespace

std::vector<std::string> changes_between(const Settings& before, const Settings& after) {
  Changes changes;
  changes.compare("labels", list_of(before.labels), list_of(after.labels));
  changes.compare("resources", list_of(before.resources), list_of(after.resources));
  changes.compare_written("security", before, after);
  changes.compare("cancel-grace", time_of(before.cancel_grace), time_of(after.cancel_grace));
  changes.compare("task-user", before.task_user, after.task_user);
  changes.compare("min-free-space (bytes)", before.min_free_space, after.min_free_space);
  changes.compare("environment.inherit", list_of(before.inherited_variables),
                  list_of(after.inherited_variables));
  changes.compare("max-tasks", before.life.max_tasks, after.life.max_tasks);
  changes.compare("exit-after-idle", time_of(before.life.exit_after_idle),
                  time_of(after.life.exit_after_idle));
  changes.compare("drain-timeout", time_of(before.life.drain_timeout),
                  time_of(after.life.drain_timeout));
  changes.compare_written("log", before, after);
  changes.compare_written("standby", before, after);
  // These would make it another worker, or another way to run tasks.
  changes.restart("name", before.name != after.name);
  changes.restart("metrics-address", before.metrics_address != after.metrics_address);
  changes.restart("data-dir", before.data_directory != after.data_directory);
  changes.restart("upstreams and tokens", !same_upstreams(before, after));
  for (const char* key : {"container", "tart-pre-pull", "resource-modifiers", "tuning"}) {
    changes.compare_written(key, before, after, ": takes effect after a restart");
  }
  return changes.take();
}

}  // namespace cirrus::worker
