// SPDX-License-Identifier: MIT
// A darwin twin finds nothing: there are no control groups.
#include <charconv>
#include <sstream>
#include <string>

#include <fmt/format.h>

#include "base/strings.h"
#include "os/control_group.h"
#include "os/files.h"

namespace cirrus::os {

namespace {

/// A mounted tree of control groups: which part of the hierarchy it shows, and where.
struct Mount {
  std::string root;
  std::string place;
};

/// Fields: id parent major:minor root mount-point options ... - type source options.
std::optional<Mount> mount_of(std::string_view controller, bool v2) {
  const Result<std::string> table = read_file("/proc/self/mountinfo", 4U << 20U);
  if (!table.ok()) return std::nullopt;
  for (const std::string& line : split(table.value(), '\n')) {
    const std::size_t dash = line.find(v2 ? " - cgroup2 " : " - cgroup ");
    if (dash == std::string::npos) continue;
    std::istringstream fields(line);
    std::string skipped;
    Mount mount;
    fields >> skipped >> skipped >> skipped >> mount.root >> mount.place;
    if (v2) return mount;
    std::istringstream rest(line.substr(dash + 3));
    std::string options;
    rest >> skipped >> skipped >> options;
    for (const std::string& option : split(options, ',')) {
      if (option == controller) return mount;
    }
  }
  return std::nullopt;
}

/// `hierarchy:controllers:path` of the process.
std::optional<std::string> group_of(pid_t pid, std::string_view controller, bool v2) {
  const Result<std::string> table = read_file(fmt::format("/proc/{}/cgroup", pid), 1U << 20U);
  if (!table.ok()) return std::nullopt;
  for (const std::string& line : split(table.value(), '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (v2 ? line.starts_with("0::")
           : ("," + controllers + ",").find(fmt::format(",{},", controller)) != std::string::npos) {
      return line.substr(second + 1);
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<ControlGroup> control_group_of(pid_t pid, std::string_view controller, bool v2) {
  const std::optional<Mount> mount = mount_of(controller, v2);
  const std::optional<std::string> group = group_of(pid, controller, v2);
  if (!mount || !group) return std::nullopt;
  // A container without a namespace of its own sees its whole path, but only its part mounted.
  std::string below = *group;
  if (mount->root != "/" && below.starts_with(mount->root)) below.erase(0, mount->root.size());
  return ControlGroup{mount->place + (below == "/" ? "" : below), v2};
}

std::optional<std::uint64_t> number_after(const std::filesystem::path& file, std::string_view key) {
  const Result<std::string> text = read_file(file, 64U << 10U);
  if (!text.ok()) return std::nullopt;
  for (const std::string& line : split(text.value(), '\n')) {
    if (!line.starts_with(key)) continue;
    const std::string_view rest = trim(std::string_view(line).substr(key.size()));
    std::uint64_t number = 0;
    const auto [end, failure] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (failure == std::errc() && end == rest.data() + rest.size()) return number;
  }
  return std::nullopt;
}

}  // namespace cirrus::os
