// SPDX-License-Identifier: MIT
// `cirrus worker list|show|cordon|uncordon|drain`: workers as their controller sees them.
#include <signal.h>

#include <cstdio>

#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "cli/api_command.h"
#include "os/signals.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct FleetFlags : ApiCommandFlags {
  std::string name;
  std::string pool;
  std::int64_t timeout = 0;
};

/// The worker of that name; with `--pool` if several pools have one.
Result<json> find_worker(const FleetFlags& flags, const ApiClient& api) {
  const json workers = CIRRUS_TRY(whole_list(api, "/api/v1/workers", "workers"));
  json found;
  std::string pools;
  for (const json& worker : workers) {
    if (text_of(worker, "name") != flags.name) continue;
    if (!flags.pool.empty() && text_of(worker, "pool") != flags.pool) continue;
    pools += (pools.empty() ? "" : ", ") + text_of(worker, "pool");
    if (!found.is_null()) {
      return error(Code::InvalidArgument, "several pools have a worker '{}' ({}): pass --pool",
                   flags.name, pools);
    }
    found = worker;
  }
  if (found.is_null()) {
    return error(Code::NotFound, "no worker '{}'{}: see cirrus worker list", flags.name,
                 flags.pool.empty() ? "" : " in pool '" + flags.pool + "'");
  }
  return found;
}

std::string path_of(const json& worker) {
  return "/api/v1/workers/" + path_component(text_of(worker, "pool")) + "/" +
         path_component(text_of(worker, "name"));
}

std::string seen(const json& worker) {
  const auto ago = worker.find("last_seen_ms_ago");
  if (ago == worker.end() || !ago->is_number()) return "never";
  return fmt::format("{} s ago", ago->get<std::int64_t>() / 1000);
}

std::string tasks_of(const json& worker) {
  std::string text;
  for (const json& id : worker.value("tasks", json::array())) {
    text += (text.empty() ? "" : " ") + id.get<std::string>();
  }
  return text;
}

int list(const FleetFlags& flags, const ApiClient& api) {
  const Result<json> all = whole_list(api, "/api/v1/workers", "workers");
  if (!all.ok()) return report(all.error());
  json workers = json::array();
  for (const json& worker : all.value()) {
    if (flags.pool.empty() || text_of(worker, "pool") == flags.pool) workers.push_back(worker);
  }
  if (flags.json()) {
    print_json({{"schema_version", 1}, {"workers", workers}});
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"POOL", "NAME", "STATE", "SEEN", "TASKS", "RESOURCES"}};
  for (const json& worker : workers) {
    rows.push_back({text_of(worker, "pool"), text_of(worker, "name"), text_of(worker, "state"),
                    seen(worker), std::to_string(worker.value("tasks", json::array()).size()),
                    pairs_of(worker.value("resources", json::object()))});
  }
  std::printf("%s", render_columns(rows).c_str());
  return kOk;
}

int show(const FleetFlags& flags, const ApiClient& api) {
  const Result<json> found = find_worker(flags, api);
  if (!found.ok()) return report(found.error());
  const json& worker = found.value();
  if (flags.json()) {
    print_json({{"schema_version", 1}, {"worker", worker}});
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"pool", text_of(worker, "pool")},
      {"name", text_of(worker, "name")},
      {"state", text_of(worker, "state") + (worker.value("disabled", false) ? ", cordoned" : "") +
                    (worker.value("draining", false) ? ", draining" : "")},
      {"seen", seen(worker)},
      {"labels", pairs_of(worker.value("labels", json::object()))},
      {"resources", pairs_of(worker.value("resources", json::object()))},
      {"tasks", tasks_of(worker)}};
  if (!text_of(worker, "conflict").empty())
    rows.push_back({"conflict", text_of(worker, "conflict")});
  std::printf("%s", render_columns(rows).c_str());
  return kOk;
}

int set_cordon(const FleetFlags& flags, const ApiClient& api, bool cordon) {
  const Result<json> found = find_worker(flags, api);
  if (!found.ok()) return report(found.error());
  const Result<json> answer =
      api.post(path_of(found.value()) + (cordon ? "/cordon" : "/uncordon"), json::object());
  if (!answer.ok()) return report(answer.error());
  if (flags.json()) {
    print_json(change_of(
        cordon ? "worker.cordon" : "worker.uncordon", "worker",
        {{"pool", text_of(found.value(), "pool")}, {"name", flags.name}, {"disabled", cordon}},
        answer.value()));
    return kOk;
  }
  std::printf("%s worker %s of pool %s\n", cordon ? "cordoned" : "uncordoned", flags.name.c_str(),
              text_of(found.value(), "pool").c_str());
  return kOk;
}

/// Cordons and waits until nothing runs there any more.
int drain(const FleetFlags& flags, const ApiClient& api) {
  os::block_signals({SIGINT, SIGTERM});
  StopSource interrupted;
  const os::SignalThread signals({SIGINT, SIGTERM}, [&](int) { interrupted.request_stop(); });
  const Result<json> found = find_worker(flags, api);
  if (!found.ok()) return report(found.error());
  const std::string path = path_of(found.value());
  const Result<json> cordoned = api.post(path + "/cordon", json::object());
  if (!cordoned.ok()) return report(cordoned.error());
  const Monotonic limit = system_clock().now() + std::chrono::seconds(flags.timeout);
  std::string last;
  while (true) {
    const Result<json> now = api.get(path);
    if (!now.ok()) return report(now.error());
    const json worker = now.value().value("worker", json::object());
    const std::string tasks = tasks_of(worker);
    if (tasks.empty()) {
      if (flags.json()) {
        print_json(now.value());
      } else {
        std::printf("worker %s is cordoned and runs nothing\n", flags.name.c_str());
      }
      return kOk;
    }
    if (tasks != last) std::fprintf(stderr, "waiting for tasks %s\n", tasks.c_str());
    last = tasks;
    if (flags.timeout > 0 && system_clock().now() >= limit) {
      complain("tasks " + tasks + " still run; the worker stays cordoned");
      return kFailed;
    }
    (void)wait_for(interrupted.get_token(), std::chrono::milliseconds(500));
    if (interrupted.stop_requested()) {
      complain("stopped waiting; the worker stays cordoned");
      return kFailed;
    }
  }
}

}  // namespace

bool is_fleet_command(const std::string& name) {
  return name == "list" || name == "show" || name == "cordon" || name == "uncordon" ||
         name == "drain";
}

void add_fleet_commands(CLI::App& worker, Invocation& invocation) {
  static FleetFlags flags;
  const auto add = [&](const char* name, const char* help, const char* example,
                       std::function<int(const ApiClient&)> body) {
    CLI::App* const command =
        add_api_command(worker, invocation, flags, name, help, example, std::move(body));
    command->add_option("--pool", flags.pool, "only of this pool");
    return command;
  };
  add("list", "List the workers a controller knows", "cirrus worker list --pool default",
      [](const ApiClient& api) { return list(flags, api); });
  const auto one = [&](const char* name, const char* help, const char* example,
                       std::function<int(const ApiClient&)> body) {
    CLI::App* const command = add(name, help, example, std::move(body));
    command->add_option("worker", flags.name, "its name")->required();
    return command;
  };
  one("show", "Show one worker", "cirrus worker show mac-1",
      [](const ApiClient& api) { return show(flags, api); });
  one("cordon", "Give a worker nothing new; the same as pause on its machine",
      "cirrus worker cordon mac-1",
      [](const ApiClient& api) { return set_cordon(flags, api, true); });
  one("uncordon", "Undo cordon", "cirrus worker uncordon mac-1",
      [](const ApiClient& api) { return set_cordon(flags, api, false); });
  CLI::App* const drain_command = one("drain", "Cordon a worker and wait until it runs nothing",
                                      "cirrus worker drain mac-1 --timeout 1h",
                                      [](const ApiClient& api) { return drain(flags, api); });
  read_duration(*drain_command, "--timeout", flags.timeout,
                "give up waiting after (default never)");
}

}  // namespace cirrus::cli
