// SPDX-License-Identifier: MIT
#include "stack.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdio>

#include "base/clock.h"
#include "base/encoding.h"
#include "base/strings.h"
#include "os/files.h"
#include "os/host.h"

namespace cirrus::bench {

namespace {

using nlohmann::json;

Result<os::Process> start_daemon(const os::TempDir& scratch, const std::string& name,
                                 std::vector<std::string> arguments) {
  const std::filesystem::path program =
      CIRRUS_TRY(os::executable_path()).parent_path().parent_path() / "cirrus";
  const os::Fd log =
      CIRRUS_TRY(os::open_file(scratch.path() / (name + ".log"), O_WRONLY | O_CREAT | O_APPEND));
  const std::filesystem::path ready = scratch.path() / (name + ".json");
  os::SpawnOptions options;
  options.argv = {program.string()};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.argv.insert(options.argv.end(), {"--ready-file", ready.string()});
  options.descriptors = {{1, log.get()}, {2, log.get()}};
  options.kill_grace = std::chrono::seconds(5);
  os::Process process = CIRRUS_TRY(os::Process::spawn(options));
  const Monotonic deadline = system_clock().now() + std::chrono::seconds(20);
  while (!std::filesystem::exists(ready)) {
    if (process.try_wait() || system_clock().now() > deadline) {
      return error(Code::Unavailable, "{} did not start: {}", name,
                   os::read_file(scratch.path() / (name + ".log")).value_or(""));
    }
    (void)wait_for(StopToken(), std::chrono::milliseconds(5));
  }
  return process;
}

}  // namespace

Result<Stack> Stack::start(const std::string& resources, const std::string& settings) {
  os::TempDir scratch = CIRRUS_TRY(os::TempDir::create("cirrus-bench"));
  const std::string root = scratch.path().string();
  os::Process controller =
      CIRRUS_TRY(start_daemon(scratch, "controller",
                              {"controller", "run", "--data-dir", root + "/c", "--rpc-address",
                               "127.0.0.1:0", "--http-address", "127.0.0.1:0"}));
  const json ready =
      json::parse(CIRRUS_TRY(os::read_file(scratch.path() / "controller.json")), nullptr, false);
  Stack stack(std::move(scratch), std::move(controller));
  stack.url_ = ready.value("http_url", "");
  stack.token_ = std::string(trim(CIRRUS_TRY(os::read_file(ready.value("admin_token_file", "")))));
  CIRRUS_TRY(os::write_file(root + "/worker.yml", settings));
  stack.worker_ =
      CIRRUS_TRY(start_daemon(stack.scratch_, "worker",
                              {"worker", "run", "--name", "bench", "--token-file",
                               ready.value("registration_token_file", ""), "--rpc-endpoint",
                               ready.value("rpc_endpoint", ""), "--data-dir", root + "/w",
                               "--resources", resources, "-f", root + "/worker.yml"}));
  return stack;
}

net::HttpRequest Stack::request(const std::string& method, const std::string& path) const {
  net::HttpRequest message;
  message.method = method;
  message.url = url_ + path;
  message.headers = {{"Authorization", "Bearer " + token_}};
  return message;
}

Result<json> Stack::submit(const std::string& config) const {
  net::HttpRequest message = request("POST", "/api/v1/builds");
  message.headers.emplace_back("Content-Type", "application/json");
  message.body = json{{"repository", "bench/bench"}, {"branch", "main"}, {"config", config}}.dump();
  const net::HttpResponse response = CIRRUS_TRY(http_.send(message));
  if (response.status != 201) {
    return error(Code::Internal, "submit answered {}: {}", response.status, response.body);
  }
  const json document = json::parse(response.body, nullptr, false);
  return document.contains("build") ? document["build"] : document;
}

Result<json> Stack::get(const std::string& path) const {
  const net::HttpResponse response = CIRRUS_TRY(http_.send(request("GET", path)));
  if (response.status != 200) {
    return error(Code::Internal, "{} answered {}", path, response.status);
  }
  return json::parse(response.body, nullptr, false);
}

Status Stack::events(const std::string& path,
                     const std::function<bool(const net::EventParser::Event&)>& on_event) const {
  net::HttpRequest message = request("GET", path);
  message.timeout = std::chrono::minutes(2);
  net::EventParser parser;
  const net::HttpResponse response = CIRRUS_TRY(
      http_.stream(message, [&](std::string_view bytes) { return parser.feed(bytes, on_event); }));
  if (response.status == 200) return {};
  return error(Code::Internal, "{} answered {}: {}", path, response.status, response.body);
}

Result<json> Stack::run_task(const std::string& config) const {
  const json build = CIRRUS_TRY(submit(config));
  CIRRUS_TRY(events("/api/v1/builds/" + build.value("id", "") + "/events",
                    [](const net::EventParser::Event& event) { return event.name != "end"; }));
  const std::string id = build["tasks"][0].value("id", "");
  json task = CIRRUS_TRY(get("/api/v1/tasks/" + id));
  if (task.contains("task")) task = json(task["task"]);
  if (task.value("status", "") == "completed") return task;
  std::string words;
  for (const json& step : task.value("steps", json::array())) {
    if (step.value("status", "") != "failed") continue;
    const net::HttpResponse log = CIRRUS_TRY(http_.send(request(
        "GET", "/api/v1/tasks/" + id + "/logs/" + net::percent_encode(step.value("name", "")))));
    words += log.body.substr(log.body.size() - std::min<std::size_t>(log.body.size(), 500));
  }
  return error(Code::Internal, "the task ended as {}: {} {}", task.value("status", ""),
               task.value("reason", ""), words);
}

Result<double> Stack::millis_to_first_line(const std::string& config) const {
  const Monotonic start = system_clock().now();
  const json build = CIRRUS_TRY(submit(config));
  const std::string task = build["tasks"][0].value("id", "");
  double millis = 0;
  std::string text;
  CIRRUS_TRY(events(
      "/api/v1/tasks/" + task + "/logs/main?follow=1", [&](const net::EventParser::Event& event) {
        // The worker's own words, such as those of a pull, are not the script's.
        if (event.name == "log" && millis == 0) {
          const json data = json::parse(event.data, nullptr, false);
          text += base64_decode(data.value("data", "")).value_or("");
          if (text.find("echo first") != std::string::npos) {
            millis =
                std::chrono::duration<double, std::milli>(system_clock().now() - start).count();
          }
        }
        return event.name != "end";
      }));
  if (millis == 0) return error(Code::Internal, "task {} printed nothing: {}", task, text);
  CIRRUS_TRY(events("/api/v1/builds/" + build.value("id", "") + "/events",
                    [](const net::EventParser::Event& event) { return event.name != "end"; }));
  return millis;
}

double step_seconds(const json& task, const std::string& step) {
  for (const json& one : task.value("steps", json::array())) {
    if (one.value("name", "") == step) return one.value("duration_ms", 0.0) / 1e3;
  }
  return 0;
}

Result<double> time_shell(const std::string& text) {
  os::SpawnOptions options;
  options.argv = {"sh", "-euc", text};
  const Monotonic begun = system_clock().now();
  const os::CommandOutput ended = CIRRUS_TRY(
      os::run_command(options, "", StopToken(), begun + std::chrono::minutes(5), 64U << 10U));
  if (!ended.status.success()) return error(Code::Internal, "'{}': {}", text, ended.errors);
  return std::chrono::duration<double>(system_clock().now() - begun).count();
}

void print_figure(const std::string& name, double value, const std::string& unit, std::size_t n) {
  std::printf("{\"name\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",\"n\":%zu}\n", name.c_str(), value,
              unit.c_str(), n);
  std::fflush(stdout);
}

double quantile(std::vector<double> samples, double fraction) {
  std::sort(samples.begin(), samples.end());
  const auto index = static_cast<std::size_t>(fraction * static_cast<double>(samples.size()));
  return samples[std::min(index, samples.size() - 1)];
}

int give_up(const Error& failure) {
  std::fprintf(stderr, "not measured: %s\n", failure.to_string().c_str());
  return 1;
}

}  // namespace cirrus::bench
