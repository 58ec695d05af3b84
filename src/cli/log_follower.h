// SPDX-License-Identifier: MIT
// The logs of a build's tasks, printed while they run.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/guarded.h"
#include "base/stop.h"
#include "cli/api_client.h"

namespace cirrus::cli {

/// The bytes of an event `log`, `{"offset":…,"data":base64}`; nothing if it is none.
struct LogChunk {
  std::uint64_t offset = 0;
  std::string bytes;
};
LogChunk read_log_chunk(const std::string& event_data);

/// Prints whole lines of many tasks without mixing them; each line is headed by its task's name if
/// there are several. One thread for each running task.
class LogFollower {
 public:
  /// Names of a task and of its step.
  using StepName = std::pair<std::string, std::string>;

  /// `api` must outlive it. `background`: steps whose logs go on beside those of the next ones.
  LogFollower(const ApiClient& api, bool show_names, std::set<StepName> background)
      : api_(api), show_names_(show_names), background_(std::move(background)) {}
  ~LogFollower();
  LogFollower(const LogFollower&) = delete;
  LogFollower& operator=(const LogFollower&) = delete;

  /// Tells the newest state of the build: tasks that began are followed from now on.
  void update(const nlohmann::json& build);
  /// Prints a line of our own.
  void say(const std::string& line);
  /// Waits until everything that tasks of the last `update` wrote is printed. They must be final.
  void finish();

 private:
  struct Task {
    std::string id;
    std::string name;
    Guarded<nlohmann::json> newest;
    std::vector<Thread> beside;  // the thread below starts them; background steps
    Thread thread;
  };
  void follow(Task& task, const StopToken& stop);
  void follow_step(const Task& task, const std::string& step, const StopToken& stop);
  void print(const Task& task, std::string_view text);

  const ApiClient& api_;                                // constant after construction
  const bool show_names_;                               // constant after construction
  const std::set<StepName> background_;                 // constant after construction
  std::map<std::string, std::unique_ptr<Task>> tasks_;  // the caller's thread only
  std::mutex output_;  // held while one piece goes to standard output
};

}  // namespace cirrus::cli
