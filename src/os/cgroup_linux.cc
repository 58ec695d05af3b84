// SPDX-License-Identifier: MIT
// Linux only. There is no twin elsewhere: `create` answers NotFound there, and trees are found by
// the task cookie in their environment instead.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

#include "base/strings.h"
#include "os/cgroup.h"
#include "os/fd.h"
#include "os/files.h"

namespace cirrus::os {

namespace {

// The machine may have v1, v2 or both: the mounts say which. Fields: id parent major:minor root
// mount-point options ... - type source options.
Result<std::filesystem::path> v2_mount() {
  const std::string table = CIRRUS_TRY(read_file("/proc/self/mountinfo", 4U << 20U));
  for (const std::string& line : split(table, '\n')) {
    const std::size_t dash = line.find(" - cgroup2 ");
    if (dash == std::string::npos) continue;
    std::istringstream fields(line);
    std::string skipped;
    std::string mount_point;
    fields >> skipped >> skipped >> skipped >> skipped >> mount_point;
    if (!mount_point.empty()) return std::filesystem::path(mount_point);
  }
  return error(Code::NotFound, "no cgroup v2 tree is mounted");
}

Result<std::string> own_group() {
  const std::string groups = CIRRUS_TRY(read_file("/proc/self/cgroup", 1U << 20U));
  for (const std::string& line : split(groups, '\n')) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return error(Code::NotFound, "this process is in no cgroup v2 group");
}

Status write_control(const std::filesystem::path& file, std::string_view text) {
  const Fd fd = CIRRUS_TRY(open_file(file, O_WRONLY));
  return write_all(fd.get(), text).note("writing '{}'", file.string());
}

}  // namespace

Result<Cgroup> Cgroup::create(std::string_view name) {
  const std::filesystem::path mount = CIRRUS_TRY(v2_mount());
  const std::string group = CIRRUS_TRY(own_group());
  std::filesystem::path path = mount;
  if (group != "/") path += group;
  path /= "cirrus-" + std::string(name);
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
    return errno_error(errno, "cannot create cgroup '{}'", path.string());
  }
  return Cgroup(std::move(path));
}

Status Cgroup::add(pid_t pid) const {
  return write_control(path_ / "cgroup.procs", std::to_string(pid));
}

Status Cgroup::kill() const {
  return write_control(path_ / "cgroup.kill", "1");
}

bool Cgroup::empty() const {
  const Result<std::string> processes = read_file(path_ / "cgroup.procs");
  return !processes.ok() || processes.value().empty();
}

Status Cgroup::remove() const {
  if (::rmdir(path_.c_str()) == 0 || errno == ENOENT) return {};
  return errno_error(errno, "cannot remove cgroup '{}'", path_.string());
}

}  // namespace cirrus::os
