// SPDX-License-Identifier: MIT
// Linux half: /proc and PR_SET_CHILD_SUBREAPER. A Darwin twin uses sysctl(KERN_PROC) for start
// times and parents and KERN_PROCARGS2 for environments; there is no subreaper there, so only the
// environment finds survivors.
#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <map>

#include "os/files.h"
#include "os/proc.h"

namespace cirrus::os {

namespace {

struct Stat {
  char state = '?';
  pid_t parent = 0;
  std::uint64_t start_time = 0;
};

std::optional<Stat> read_stat(pid_t pid) {
  const Result<std::string> text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text.ok()) return std::nullopt;
  // The name may hold spaces and parentheses; the fields start after the last one.
  const std::size_t end_of_name = text.value().rfind(')');
  if (end_of_name == std::string::npos) return std::nullopt;
  const char* cursor = text.value().c_str() + end_of_name + 1;
  Stat stat;
  for (int field = 3; field <= 22; ++field) {
    while (*cursor == ' ') ++cursor;
    if (*cursor == '\0') return std::nullopt;
    if (field == 3) stat.state = *cursor;
    if (field == 4) stat.parent = static_cast<pid_t>(std::strtol(cursor, nullptr, 10));
    if (field == 22) stat.start_time = std::strtoull(cursor, nullptr, 10);
    while (*cursor != ' ' && *cursor != '\0') ++cursor;
  }
  return stat;
}

}  // namespace

std::vector<int> numbers_in(const std::string& directory) {
  std::vector<int> numbers;
  DIR* list = ::opendir(directory.c_str());
  if (list == nullptr) return numbers;
  while (const dirent* entry = ::readdir(list)) {
    char* end = nullptr;
    const long number = std::strtol(entry->d_name, &end, 10);
    if (end != entry->d_name && *end == '\0') numbers.push_back(static_cast<int>(number));
  }
  ::closedir(list);
  return numbers;
}

std::optional<std::uint64_t> process_start_time(pid_t pid) {
  const std::optional<Stat> stat = read_stat(pid);
  if (!stat) return std::nullopt;
  return stat->start_time;
}

bool is_alive(pid_t pid, std::uint64_t start_time) {
  const std::optional<Stat> stat = read_stat(pid);
  return stat && stat->start_time == start_time && stat->state != 'Z' && stat->state != 'X';
}

Fd open_pidfd(pid_t pid) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (fd.valid()) (void)::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  return fd;
}

std::vector<pid_t> processes_with_variable(std::string_view key, std::string_view value) {
  const std::string wanted = std::string(key) + "=" + std::string(value);
  std::vector<pid_t> found;
  for (const pid_t pid : numbers_in("/proc")) {
    const Result<std::string> environment =
        read_file("/proc/" + std::to_string(pid) + "/environ", 4U << 20U);
    if (!environment.ok()) continue;
    std::string_view rest = environment.value();
    while (!rest.empty()) {
      const std::size_t end = rest.find('\0');
      if (rest.substr(0, end) == wanted) {
        found.push_back(pid);
        break;
      }
      if (end == std::string_view::npos) break;
      rest.remove_prefix(end + 1);
    }
  }
  return found;
}

std::optional<std::vector<pid_t>> children_of(pid_t pid) {
  const std::string threads = "/proc/" + std::to_string(pid) + "/task";
  std::optional<std::vector<pid_t>> children;
  for (const pid_t thread : numbers_in(threads)) {
    const Result<std::string> list =
        read_file(threads + "/" + std::to_string(thread) + "/children", 4U << 20U);
    if (!list.ok()) continue;
    if (!children) children.emplace();
    const char* cursor = list.value().c_str();
    char* next = nullptr;
    for (long child = std::strtol(cursor, &next, 10); next != cursor;
         child = std::strtol(cursor, &next, 10)) {
      cursor = next;
      children->push_back(static_cast<pid_t>(child));
    }
  }
  return children;
}

std::vector<pid_t> descendants_of(pid_t ancestor) {
  std::multimap<pid_t, pid_t> children;
  for (const pid_t pid : numbers_in("/proc")) {
    if (const std::optional<Stat> stat = read_stat(pid); stat && stat->state != 'Z') {
      children.emplace(stat->parent, pid);
    }
  }
  std::vector<pid_t> found;
  std::vector<pid_t> open{ancestor};
  while (!open.empty()) {
    const pid_t parent = open.back();
    open.pop_back();
    const auto [first, last] = children.equal_range(parent);
    for (auto child = first; child != last; ++child) {
      found.push_back(child->second);
      open.push_back(child->second);
    }
  }
  return found;
}

void become_subreaper() {
  (void)::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

}  // namespace cirrus::os
