// SPDX-License-Identifier: MIT
// Linux half: /proc, waitid(WNOWAIT) and pidfd. A Darwin twin uses sysctl(KERN_PROC_ALL).
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "os/fd.h"
#include "os/files.h"
#include "os/proc.h"
#include "os/process_table.h"

namespace cirrus::os {
namespace {

std::optional<ProcessEntry> read_entry(pid_t pid) {
  const Result<std::string> text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text.ok()) return std::nullopt;
  // The name may hold spaces and parentheses; the fields start after the last one.
  const std::size_t end_of_name = text.value().rfind(") ");
  if (end_of_name == std::string::npos) return std::nullopt;
  ProcessEntry entry;
  entry.pid = pid;
  const char* cursor = text.value().c_str() + end_of_name + 2;
  entry.zombie = *cursor == 'Z' || *cursor == 'X';
  char* next = nullptr;
  entry.parent = static_cast<pid_t>(std::strtol(cursor + 1, &next, 10));
  entry.group = static_cast<pid_t>(std::strtol(next, &next, 10));
  entry.session = static_cast<pid_t>(std::strtol(next, &next, 10));
  return entry;
}

}  // namespace

std::vector<ProcessEntry> process_table() {
  std::vector<ProcessEntry> table;
  for (const pid_t pid : numbers_in("/proc")) {
    if (const std::optional<ProcessEntry> entry = read_entry(pid)) table.push_back(*entry);
  }
  return table;
}

std::string command_line_of(pid_t pid) {
  const std::string directory = "/proc/" + std::to_string(pid);
  Result<std::string> text = read_file(directory + "/cmdline", 1U << 20U);
  if (!text.ok()) return {};
  std::string line = std::move(text).value();
  while (!line.empty() && line.back() == '\0') line.pop_back();
  std::replace(line.begin(), line.end(), '\0', ' ');
  if (!line.empty()) return line;
  const Result<std::string> name = read_file(directory + "/comm", 256);
  if (!name.ok() || name.value().empty()) return {};
  return "[" + name.value().substr(0, name.value().size() - 1) + "]";
}

std::optional<std::string> variable_of(pid_t pid, std::string_view key) {
  const Result<std::string> text =
      read_file("/proc/" + std::to_string(pid) + "/environ", 4U << 20U);
  if (!text.ok()) return std::nullopt;
  const std::string wanted = std::string(key) + "=";
  std::string_view rest = text.value();
  while (!rest.empty()) {
    const std::string_view entry = rest.substr(0, rest.find('\0'));
    if (entry.substr(0, wanted.size()) == wanted) return std::string(entry.substr(wanted.size()));
    rest.remove_prefix(std::min(rest.size(), entry.size() + 1));
  }
  return std::nullopt;
}

std::vector<pid_t> holders_of_pipe(int fd) {
  std::vector<pid_t> holders;
  struct stat ours {};
  if (::fstat(fd, &ours) != 0) return holders;
  const std::string wanted = "pipe:[" + std::to_string(ours.st_ino) + "]";
  for (const pid_t pid : numbers_in("/proc")) {
    if (pid == ::getpid()) continue;
    const std::string directory = "/proc/" + std::to_string(pid) + "/fd";
    const std::vector<int> numbers = numbers_in(directory);
    const bool holds = std::any_of(numbers.begin(), numbers.end(), [&](int number) {
      char target[64];
      const ssize_t length =
          ::readlink((directory + "/" + std::to_string(number)).c_str(), target, sizeof target);
      return length > 0 && std::string_view(target, static_cast<std::size_t>(length)) == wanted;
    });
    if (holds) holders.push_back(pid);
  }
  return holders;
}

bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

void reap_others(const std::vector<pid_t>& tracked) {
  const auto is_tracked = [&tracked](pid_t pid) {
    return std::find(tracked.begin(), tracked.end(), pid) != tracked.end();
  };
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
    if (is_tracked(info.si_pid)) break;
    (void)::waitpid(info.si_pid, nullptr, WNOHANG);
  }
  // A dead child that is tracked hides the ones behind it, so from here on each child of ours is
  // asked for by name.
  for (const pid_t pid : children_of(::getpid()).value_or(std::vector<pid_t>{})) {
    if (!is_tracked(pid)) (void)::waitpid(pid, nullptr, WNOHANG);
  }
}

void wait_dead(const std::vector<pid_t>& pids, Monotonic deadline) {
  for (const pid_t pid : pids) {
    const Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!fd.valid()) continue;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd polled{fd.get(), POLLIN, 0};
    (void)::poll(&polled, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
  }
}

}  // namespace cirrus::os
