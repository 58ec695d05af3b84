// SPDX-License-Identifier: MIT
#include "cli/log_follower.h"

#include <cstdio>

#include "base/log.h"
#include "cli/build_view.h"
#include "net/http_types.h"

namespace cirrus::cli {

using nlohmann::json;

LogChunk read_log_chunk(const std::string& event_data) {
  const json chunk = json::parse(event_data, nullptr, false);
  if (!chunk.is_object()) return {};
  return {chunk.value("offset", std::uint64_t{0}),
          net::base64_decode(chunk.value("data", "")).value_or("")};
}

LogFollower::~LogFollower() {
  for (auto& [id, task] : tasks_) task->thread.request_stop();
  // Joined by their destructors, before what they use.
  tasks_.clear();
}

void LogFollower::update(const json& build) {
  for (const json& task : build.value("tasks", json::array())) {
    const std::string id = task.value("id", "");
    const std::string status = task.value("status", "");
    if (status == "created" || status == "triggered") continue;
    std::unique_ptr<Task>& known = tasks_[id];
    if (known) {
      known->newest.update([&](json& newest) { newest = task; });
      continue;
    }
    known = std::make_unique<Task>();
    known->id = id;
    known->name = task.value("name", "");
    known->newest.with([&](json& newest) { newest = task; });
    Task* const started = known.get();
    started->thread = Thread([this, started](const StopToken& stop) { follow(*started, stop); });
  }
}

void LogFollower::finish() {
  for (auto& [id, task] : tasks_) {
    if (task->thread.joinable()) task->thread.join();
    for (Thread& thread : task->beside) {
      if (thread.joinable()) thread.join();
    }
  }
}

void LogFollower::follow(Task& task, const StopToken& stop) {
  std::set<std::string> done;
  while (!stop.stop_requested()) {
    // The next step that began, else the end of the task.
    struct Next {
      std::string step;
      std::string status;
      json task;
    };
    const auto next_of = [&](const json& newest) {
      Next next;
      for (const json& step : newest.value("steps", json::array())) {
        const std::string name = step.value("name", "");
        const std::string status = step.value("status", "");
        if (done.contains(name) || status == "created") continue;
        next = {name, status, {}};
        break;
      }
      if (next.step.empty() && is_final_status(newest.value("status", ""))) next.task = newest;
      return next;
    };
    const Next next = task.newest.wait(
        stop,
        [&](const json& newest) {
          const Next found = next_of(newest);
          return !found.step.empty() || !found.task.is_null();
        },
        [&](const json& newest, bool) { return next_of(newest); });
    if (next.step.empty()) return;
    done.insert(next.step);
    if (next.status == "skipped") continue;
    if (background_.contains({task.name, next.step})) {
      task.beside.emplace_back([this, &task, step = next.step](const StopToken& ends) {
        follow_step(task, step, ends);
      });
      continue;
    }
    follow_step(task, next.step, stop);
  }
}

void LogFollower::follow_step(const Task& task, const std::string& step, const StopToken& stop) {
  std::uint64_t printed = 0;
  std::string rest;
  const Status followed = api_.events(
      "/api/v1/tasks/" + net::percent_encode(task.id) + "/logs/" + net::percent_encode(step) +
          "?follow=1",
      [&](const net::EventParser::Event& event) {
        if (event.name == "end") return false;
        if (event.name != "log") return true;
        LogChunk chunk = read_log_chunk(event.data);
        // A stream that was opened again may repeat what we have.
        if (chunk.offset + chunk.bytes.size() <= printed) return true;
        if (chunk.offset < printed) {
          chunk.bytes.erase(0, static_cast<std::size_t>(printed - chunk.offset));
        }
        printed = std::max(printed, chunk.offset) + chunk.bytes.size();
        rest += chunk.bytes;
        const std::size_t end = rest.rfind('\n');
        if (end == std::string::npos) return true;
        print(task, std::string_view(rest).substr(0, end + 1));
        rest.erase(0, end + 1);
        return true;
      },
      stop);
  if (!rest.empty()) print(task, rest + "\n");
  if (!followed.ok() && !stop.stop_requested()) {
    log_warning("log cannot be followed", {{"task", task.id}, {"error", followed.error()}});
  }
}

void LogFollower::print(const Task& task, std::string_view text) {
  std::string lines;
  if (!show_names_) {
    lines = text;
  } else {
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      lines += fmt::format("[{}] {}\n", task.name, text.substr(0, end));
      text.remove_prefix(end + 1);
    }
  }
  const std::lock_guard lock(output_);
  std::fwrite(lines.data(), 1, lines.size(), stdout);
  std::fflush(stdout);
}

void LogFollower::say(const std::string& line) {
  const std::lock_guard lock(output_);
  std::fprintf(stdout, "%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace cirrus::cli
