// SPDX-License-Identifier: MIT
// The HTTP edge of a real controller: lists of builds and workers, and how soon 2,000 people who
// watch one log all see a line (--full: 4,000).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/encoding.h"
#include "base/strings.h"
#include "os/fd.h"
#include "os/files.h"
#include "os/host.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

double millis_since(Monotonic start) {
  return std::chrono::duration<double, std::milli>(system_clock().now() - start).count();
}

Result<os::Fd> connect_to(int port) {
  os::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!fd.valid() ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno_error(errno, "cannot connect to port {}", port);
  }
  return fd;
}

/// KiB of resident memory.
double resident(pid_t pid) {
  const std::string status = os::read_file(fmt::format("/proc/{}/status", pid)).value_or("");
  const std::size_t at = status.find("VmRSS:");
  return at == std::string::npos ? 0 : std::strtod(status.c_str() + at + 6, nullptr);
}

Status measure_lists(const Stack& stack) {
  for (int i = 0; i < 300; ++i) {
    CIRRUS_TRY(
        stack.submit("task:\n  persistent_worker: {labels: {no: such}}\n  x_script: true\n"));
  }
  for (const char* path : {"/api/v1/builds?limit=100", "/api/v1/builds/1", "/api/v1/workers"}) {
    std::vector<double> times;
    for (int i = 0; i < 200; ++i) {
      const Monotonic start = system_clock().now();
      CIRRUS_TRY(stack.get(path));
      times.push_back(millis_since(start));
    }
    const std::string name = std::string(path).find("limit") != std::string::npos
                                 ? "list_builds_100"
                             : std::string(path).ends_with("/1") ? "show_build"
                                                                 : "list_workers";
    print_figure(name + "_p50", quantile(times, 0.5), "ms", times.size());
    print_figure(name + "_p99", quantile(times, 0.99), "ms", times.size());
  }
  return {};
}

struct Watcher {
  os::Fd fd;
  net::EventParser parser;  // lines of HTTP between the events mean nothing to it
  std::string text;         // of the log, since the last marker
  bool seen = false;
};

/// Takes what came for a watcher into its text.
void take(Watcher& watcher, std::string_view bytes) {
  watcher.parser.feed(bytes, [&watcher](const net::EventParser::Event& event) {
    if (event.name != "log") return true;
    const nlohmann::json data = nlohmann::json::parse(event.data, nullptr, false);
    watcher.text += base64_decode(data.value("data", "")).value_or("");
    return true;
  });
}

/// Reads until every watcher has `marker`. The time each took since `start`, and that of the last.
Result<std::vector<double>> wait_for_all(std::vector<Watcher>& watchers, const std::string& marker,
                                         Monotonic start) {
  std::vector<double> times;
  std::vector<pollfd> fds(watchers.size());
  for (Watcher& watcher : watchers) watcher.seen = false;
  std::string buffer(64 << 10, '\0');
  while (times.size() < watchers.size()) {
    if (millis_since(start) > 60'000) {
      return error(Code::DeadlineExceeded, "only {} of {} watchers saw it", times.size(),
                   watchers.size());
    }
    for (std::size_t i = 0; i < watchers.size(); ++i) {
      fds[i] = {watchers[i].seen ? -1 : watchers[i].fd.get(), POLLIN, 0};
    }
    ::poll(fds.data(), fds.size(), 1000);
    for (std::size_t i = 0; i < watchers.size(); ++i) {
      if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      const ssize_t got = ::read(fds[i].fd, buffer.data(), buffer.size());
      if (got <= 0) return error(Code::Unavailable, "a watcher was cut off");
      Watcher& watcher = watchers[i];
      take(watcher, std::string_view(buffer).substr(0, static_cast<std::size_t>(got)));
      if (watcher.text.find(marker) == std::string::npos) continue;
      watcher.text.clear();
      watcher.seen = true;
      times.push_back(millis_since(start));
    }
  }
  return times;
}

Status measure_watchers(const Stack& stack, int count) {
  // The script says a line whenever a file asks for it.
  const std::string asked = stack.scratch().string() + "/say";
  const auto build = CIRRUS_TRY(stack.submit(
      "task:\n  persistent_worker: {resources: {slot: 1}}\n  main_script: |\n    echo ready\n"
      "    for n in 1 2 3 4 5; do while [ ! -e " +
      asked +
      "$n ]; do sleep 0.002; done; "
      "echo said$n; done\n"));
  const std::string task = build["tasks"][0].value("id", "");
  const std::string path = "/api/v1/tasks/" + task + "/logs/main?follow=1";
  const double before = resident(stack.controller_pid());
  std::vector<Watcher> watchers(static_cast<std::size_t>(count));
  for (Watcher& watcher : watchers) {
    watcher.fd = CIRRUS_TRY(connect_to(stack.http_port()));
    const std::string request = fmt::format(
        "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", path, stack.token());
    CIRRUS_TRY(os::write_all(watcher.fd.get(), request));
  }
  CIRRUS_TRY(wait_for_all(watchers, "\nready\n", system_clock().now()));
  print_figure("watchers_memory", (resident(stack.controller_pid()) - before) / count, "KiB",
               watchers.size());
  std::vector<double> all;
  std::vector<double> last;
  for (int n = 1; n <= 5; ++n) {
    const Monotonic start = system_clock().now();
    CIRRUS_TRY(os::write_file(asked + std::to_string(n), ""));
    const std::vector<double> times =
        CIRRUS_TRY(wait_for_all(watchers, fmt::format("said{}\n", n), start));
    all.insert(all.end(), times.begin(), times.end());
    last.push_back(*std::max_element(times.begin(), times.end()));
  }
  print_figure("watchers_line_p50", quantile(all, 0.5), "ms", all.size());
  print_figure("watchers_line_p99", quantile(all, 0.99), "ms", all.size());
  print_figure("watchers_last", quantile(last, 0.5), "ms", watchers.size());
  return {};
}

Status measure(bool full) {
  const Stack stack = CIRRUS_TRY(Stack::start("slot=4"));
  CIRRUS_TRY(measure_watchers(stack, full ? 4000 : 2000));
  return measure_lists(stack);
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  const bool full = argc > 1 && std::strcmp(argv[1], "--full") == 0;
  const cirrus::Status measured = cirrus::bench::measure(full);
  return measured.ok() ? 0 : cirrus::bench::give_up(measured.error());
}
