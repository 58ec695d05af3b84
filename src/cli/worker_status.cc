// SPDX-License-Identifier: MIT
#include "cli/worker_status.h"

#include <unistd.h>

#include <array>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/api_command.h"
#include "os/files.h"
#include "os/unix_socket.h"
#include "os/waker.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

constexpr char kSocketName[] = "status.sock";
// Ours: an upstream that is slow to say whether the worker is paused is left out.
constexpr auto kUpstreamPatience = std::chrono::seconds(2);
// Ours: time for several such upstreams.
constexpr auto kAnswerTime = std::chrono::seconds(30);
constexpr std::size_t kLongestAnswer = 16U << 20U;

class Server final : public WorkerStatus {
 public:
  Server(const worker::Worker& worker, std::filesystem::path data_directory,
         std::filesystem::path run_directory)
      : worker_(worker),
        data_directory_(std::move(data_directory)),
        link_(data_directory_ / kSocketName),
        socket_(std::move(run_directory) / kSocketName) {}
  ~Server() override {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
    std::error_code ignored;
    std::filesystem::remove(link_, ignored);
    std::filesystem::remove(socket_, ignored);
  }

  Status start() {
    listener_ = CIRRUS_TRY(os::listen_unix(socket_, 0600));
    CIRRUS_TRY(os::set_nonblocking(listener_.get(), true));
    std::error_code failure;
    std::filesystem::remove(link_, failure);
    std::filesystem::create_symlink(socket_, link_, failure);
    if (failure) {
      return error(Code::Unavailable, "cannot make '{}': {}", link_.string(), failure.message());
    }
    thread_ = Thread([this](const StopToken& stop) { serve(stop); });
    return {};
  }

 private:
  void serve(const StopToken& stop) {
    while (!stop.stop_requested()) {
      const Result<bool> ready = os::wait_readable(listener_.get(), stop, std::nullopt);
      if (!ready.ok()) {
        log_warning("the worker's status cannot be asked", {{"error", ready.error()}});
        if (!wait_for(stop, std::chrono::seconds(1))) return;
        continue;
      }
      if (!ready.value()) return;
      const Result<os::Fd> client = os::accept_connection(listener_.get());
      if (!client.ok()) continue;
      const Result<std::uint64_t> left = os::free_space(data_directory_);
      const json document = status_document(
          worker_.facts(), worker_.ask_paused(kUpstreamPatience, stop), system_clock().wall(),
          left.ok() ? std::optional(left.value()) : std::nullopt);
      // A client that does not read must not hold up the next one.
      Status sent = os::set_nonblocking(client.value().get(), true);
      if (sent.ok()) {
        sent = os::write_all(client.value().get(),
                             document.dump(-1, ' ', false, json::error_handler_t::replace));
      }
      if (!sent.ok()) log_debug("status not sent", {{"error", sent.error()}});
    }
  }

  const worker::Worker& worker_;
  const std::filesystem::path data_directory_;
  const std::filesystem::path link_;
  const std::filesystem::path socket_;
  os::Fd listener_;
  Thread thread_;
};

const char* phase_of(const worker::TaskFacts& task) {
  switch (task.phase) {
    case worker::TaskFacts::Phase::Waiting: return "waiting";
    case worker::TaskFacts::Phase::Running: return "running";
    case worker::TaskFacts::Phase::Reporting: return "reporting";
  }
  return "";
}

// Wall clocks jump: never less than nothing.
std::int64_t millis_between(WallTime since, WallTime now) {
  return std::max<std::int64_t>(0, to_unix_millis(now) - to_unix_millis(since));
}

json upstream_document(const std::string& endpoint, const worker::UpstreamFacts& facts,
                       const std::map<std::string, bool>& paused, WallTime now) {
  const char* connection = facts.registered ? "connected" : "connecting";
  if (!facts.failure.empty()) connection = "failing";
  const auto known = paused.find(endpoint);
  return {
      {"endpoint", endpoint},
      {"connection", connection},
      {"failure", facts.failure.empty() ? json() : json(facts.failure)},
      {"last_poll_at", facts.last_poll ? json(to_rfc3339(*facts.last_poll)) : json()},
      {"last_poll_ms_ago", facts.last_poll ? json(millis_between(*facts.last_poll, now)) : json()},
      {"paused", known == paused.end() ? json() : json(known->second)}};
}

// Paused is a worker that no upstream which answered gives anything new.
const char* state_of(const worker::WorkerFacts& facts, const std::map<std::string, bool>& paused) {
  if (facts.draining) return "draining";
  for (const auto& [endpoint, is_paused] : paused) {
    if (!is_paused) return "running";
  }
  return paused.empty() ? "running" : "paused";
}

std::string age(std::int64_t millis) {
  const std::int64_t seconds = millis / 1000;
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 7200) return fmt::format("{} min", seconds / 60);
  return fmt::format("{} h", seconds / 3600);
}

std::string upstream_text(const json& upstream) {
  std::string text = text_of(upstream, "endpoint") + " " + text_of(upstream, "connection");
  if (const json ago = upstream.value("last_poll_ms_ago", json()); ago.is_number_integer()) {
    text += fmt::format(", last poll {} ago", age(ago.get<std::int64_t>()));
  } else {
    text += ", not polled yet";
  }
  if (text_of(upstream, "paused") == "true") text += ", paused";
  const std::string failure = text_of(upstream, "failure");
  return failure.empty() ? text : text + ": " + failure;
}

std::string disk_text(const json& disk) {
  constexpr double kGibibyte = 1U << 30U;
  const json left = disk.value("free_bytes", json());
  if (!left.is_number()) return "unknown";
  std::string text = fmt::format("{:.1f} GiB free", left.get<double>() / kGibibyte);
  if (disk.value("low", false)) text += ", below min-free-space: no new tasks";
  return text;
}

std::string number(const json& object, const char* name) {
  return fmt::format("{:g}", object.value(name, 0.0));
}

std::string standby_text(const json& standby) {
  return fmt::format("{} ready, {} warming, {} wanted", number(standby, "ready"),
                     number(standby, "warming"), number(standby, "wanted"));
}

}  // namespace

Result<std::unique_ptr<WorkerStatus>> WorkerStatus::start(
    const worker::Worker& worker, const std::filesystem::path& data_directory,
    const std::filesystem::path& run_directory) {
  auto server = std::make_unique<Server>(worker, data_directory, run_directory);
  CIRRUS_TRY(server->start());
  return std::unique_ptr<WorkerStatus>(std::move(server));
}

json status_document(const worker::WorkerFacts& facts, const std::map<std::string, bool>& paused,
                     WallTime now, std::optional<std::uint64_t> free_space) {
  json upstreams = json::array();
  for (const auto& [endpoint, upstream] : facts.upstreams) {
    upstreams.push_back(upstream_document(endpoint, upstream, paused, now));
  }
  json resources = json::object();
  for (const auto& [name, total] : facts.resources_total) {
    const auto used = facts.resources_in_use.find(name);
    resources[name] = {{"total", total},
                       {"in_use", used == facts.resources_in_use.end() ? 0 : used->second}};
  }
  json tasks = json::array();
  for (const worker::TaskFacts& task : facts.tasks) {
    tasks.push_back({{"id", task.id},
                     {"phase", phase_of(task)},
                     {"since", to_rfc3339(task.since)},
                     {"age_ms", millis_between(task.since, now)},
                     {"upstream", task.upstream}});
  }
  return {{"schema_version", 1},
          {"name", facts.name},
          {"version", program_version()},
          {"pid", ::getpid()},
          {"state", state_of(facts, paused)},
          {"upstreams", std::move(upstreams)},
          {"resources", std::move(resources)},
          {"tasks", std::move(tasks)},
          {"standby",
           {{"ready", facts.standby.ready},
            {"warming", facts.standby.warming},
            {"wanted", facts.standby.wanted}}},
          {"disk",
           {{"free_bytes", free_space ? json(*free_space) : json()},
            {"min_free_bytes", facts.min_free_space},
            {"low", free_space && *free_space < facts.min_free_space}}}};
}

std::string status_text(const json& document) {
  std::vector<std::vector<std::string>> rows = {
      {"name", text_of(document, "name")},
      {"process",
       fmt::format("{}, version {}", text_of(document, "pid"), text_of(document, "version"))},
      {"state", text_of(document, "state")}};
  for (const json& upstream : document.value("upstreams", json::array())) {
    rows.push_back({"upstream", upstream_text(upstream)});
  }
  const json resources = document.value("resources", json::object());
  for (const auto& [name, amounts] : resources.items()) {
    rows.push_back({"resource", fmt::format("{}: {} of {} in use", name, number(amounts, "in_use"),
                                            number(amounts, "total"))});
  }
  const json standby = document.value("standby", json::object());
  if (number(standby, "wanted") != "0" || number(standby, "ready") != "0") {
    rows.push_back({"standby", standby_text(standby)});
  }
  rows.push_back({"disk", disk_text(document.value("disk", json::object()))});
  const json tasks = document.value("tasks", json::array());
  rows.push_back({"tasks", std::to_string(tasks.size())});
  std::string text = render_columns(rows);
  if (tasks.empty()) return text;
  std::vector<std::vector<std::string>> table = {{"TASK", "PHASE", "SINCE", "FOR", "UPSTREAM"}};
  for (const json& task : tasks) {
    table.push_back({text_of(task, "id"), text_of(task, "phase"), text_of(task, "since"),
                     age(task.value("age_ms", std::int64_t{0})), text_of(task, "upstream")});
  }
  return text + "\n" + render_columns(table);
}

Result<json> ask_worker(const std::filesystem::path& data_directory) {
  const auto refused = [&] {
    return error(Code::PermissionDenied,
                 "the data directory '{}' is another user's: ask as that user, or as root",
                 data_directory.string());
  };
  std::error_code failure;
  const std::filesystem::path socket =
      std::filesystem::read_symlink(data_directory / kSocketName, failure);
  if (failure == std::errc::permission_denied) return refused();
  Result<os::Fd> connection = os::connect_unix(socket);
  if (failure || !connection.ok()) {
    if (!failure && connection.error().code() == Code::PermissionDenied) return refused();
    return error(Code::NotFound,
                 "no worker runs with the data directory '{}': start one with cirrus worker run, "
                 "or name another's with --data-dir",
                 data_directory.string());
  }
  const Monotonic deadline = system_clock().now() + kAnswerTime;
  std::string text;
  std::array<char, 65536> buffer;
  for (;;) {
    if (!CIRRUS_TRY(os::wait_readable(connection.value().get(), StopToken(), deadline))) {
      return error(Code::DeadlineExceeded, "the worker does not answer within {} s",
                   kAnswerTime.count());
    }
    const std::size_t size = CIRRUS_TRY(os::read_some(connection.value().get(), buffer));
    if (size == 0) break;
    text.append(buffer.data(), size);
    if (text.size() > kLongestAnswer) break;
  }
  json document = json::parse(text, nullptr, false);
  if (!document.is_object()) {
    return error(Code::Unavailable, "the worker's answer broke off: ask again");
  }
  return document;
}

}  // namespace cirrus::cli
