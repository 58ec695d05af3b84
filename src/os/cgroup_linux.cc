// SPDX-License-Identifier: MIT
// A darwin twin has no cgroups: `create` answers NotFound there, and trees are found by
// the task cookie in their environment instead.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/stop.h"
#include "base/strings.h"
#include "os/cgroup.h"
#include "os/fd.h"
#include "os/files.h"

namespace cirrus::os {

namespace {

constexpr std::string_view kPrefix = "cirrus-";
// A group that a service manager made for the worker alone, so that the one above, which is
// delegated as well, has no processes and may have controllers (systemd: DelegateSubgroup).
constexpr std::string_view kOwnLeaf = "/cirrus-self";
// Ours: a process in an uninterruptible call freezes late; `kill` is asked again until all is gone.
constexpr auto kFreezeTime = std::chrono::seconds(1);

// Where a kind of tree is mounted, and which of its groups is the mount's root.
struct Mount {
  std::string root;
  std::filesystem::path place;
};

// The machine may have v1, v2 or both: the mounts say which. Fields: id parent major:minor root
// mount-point options [optional ...] - type source super-options.
std::optional<Mount> find_mount(const std::string& table, bool v2) {
  for (const std::string& line : split(table, '\n')) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const std::vector<std::string> before = split(line.substr(0, dash), ' ');
    const std::vector<std::string> after = split(line.substr(dash + 3), ' ');
    if (before.size() < 5 || after.size() < 3) continue;
    const std::vector<std::string> options = split(after[2], ',');
    const bool freezer = after[0] == "cgroup" &&
                         std::find(options.begin(), options.end(), "freezer") != options.end();
    if (v2 ? after[0] == "cgroup2" : freezer) return Mount{before[3], before[4]};
  }
  return std::nullopt;
}

// Our group in that tree, such as `/system.slice/cirrus-worker.service`.
std::optional<std::string> own_group(const std::string& table, bool v2) {
  for (const std::string& line : split(table, '\n')) {
    const std::vector<std::string> fields = split(line, ':');
    if (fields.size() < 3) continue;
    const std::vector<std::string> controllers = split(fields[1], ',');
    const bool freezer =
        std::find(controllers.begin(), controllers.end(), "freezer") != controllers.end();
    // The path may hold colons itself.
    const std::size_t path = fields[0].size() + fields[1].size() + 2;
    if (v2 ? line.starts_with("0::") : freezer) return line.substr(path);
  }
  return std::nullopt;
}

// Our own group's directory, where groups of ours are made. NotFound: no such tree is mounted.
Result<std::filesystem::path> own_directory(bool v2) {
  const std::string mounts = CIRRUS_TRY(read_file("/proc/self/mountinfo", 4U << 20U));
  const std::string groups = CIRRUS_TRY(read_file("/proc/self/cgroup", 1U << 20U));
  const std::optional<Mount> mount = find_mount(mounts, v2);
  std::optional<std::string> group = own_group(groups, v2);
  if (!mount || !group) {
    return error(Code::NotFound, "no cgroup {} is mounted", v2 ? "v2 tree" : "v1 freezer");
  }
  // In a container the mount may begin at a group further down.
  if (mount->root != "/" && group->starts_with(mount->root)) group->erase(0, mount->root.size());
  if (v2 && group->ends_with(kOwnLeaf)) group->resize(group->size() - kOwnLeaf.size());
  if (*group == "/") group->clear();
  return std::filesystem::path(mount->place.string() + *group);
}

Result<Cgroup> create_in(bool v2, std::string_view name) {
  std::filesystem::path path = CIRRUS_TRY(own_directory(v2));
  path /= std::string(kPrefix) + std::string(name);
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
    return errno_error(errno, "cannot create cgroup '{}'", path.string());
  }
  return Cgroup::at(std::move(path));
}

Status write_control(const std::filesystem::path& file, std::string_view text) {
  const Fd fd = CIRRUS_TRY(open_file(file, O_WRONLY));
  return write_all(fd.get(), text).note("writing '{}'", file.string());
}

std::vector<std::filesystem::path> groups_below(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> groups;
  std::error_code failure;
  for (std::filesystem::directory_iterator entry(path, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    std::error_code ignored;
    if (entry->is_directory(ignored) && !entry->is_symlink(ignored)) groups.push_back(*entry);
  }
  return groups;
}

// The processes of a group and of all below.
std::vector<pid_t> processes_in(const std::filesystem::path& path) {
  std::vector<pid_t> pids;
  const Result<std::string> listed = read_file(path / "cgroup.procs");
  if (!listed.ok()) return pids;
  for (const std::string& line : split(listed.value(), '\n')) {
    pid_t pid = 0;
    const auto parsed = std::from_chars(line.data(), line.data() + line.size(), pid);
    if (parsed.ec == std::errc() && pid > 0) pids.push_back(pid);
  }
  for (const std::filesystem::path& below : groups_below(path)) {
    const std::vector<pid_t> more = processes_in(below);
    pids.insert(pids.end(), more.begin(), more.end());
  }
  return pids;
}

bool is_frozen(const std::filesystem::path& path, bool v1) {
  const Result<std::string> state = read_file(path / (v1 ? "freezer.state" : "cgroup.events"));
  // A group without such a file cannot be waited for.
  if (!state.ok()) return true;
  if (v1) return trim(state.value()) == "FROZEN";
  return state.value().find("frozen 1") != std::string::npos;
}

// Frozen processes cannot fork, so one round of signals finds them all. They die when they thaw.
Status kill_frozen(const std::filesystem::path& path, bool v1) {
  const std::filesystem::path control = path / (v1 ? "freezer.state" : "cgroup.freeze");
  const Status frozen = write_control(control, v1 ? "FROZEN" : "1");
  const Monotonic deadline = system_clock().now() + kFreezeTime;
  while (frozen.ok() && !is_frozen(path, v1) && system_clock().now() < deadline) {
    wait_for(StopToken(), std::chrono::milliseconds(1));
  }
  for (const pid_t pid : processes_in(path)) (void)::kill(pid, SIGKILL);
  if (!frozen.ok()) return frozen;
  return write_control(control, v1 ? "THAWED" : "0");
}

bool is_there(const std::filesystem::path& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// Where processes are in the group itself, the kernel either refuses or, while no group below has
// any, makes it the root of threads: groups below could then take no process at all. The tree's
// root, the only group without a type, may have both. Source: kernel, cgroup-v2, threads.
bool may_have_controllers(const std::filesystem::path& path) {
  if (!is_there(path / "cgroup.type")) return true;
  const Result<std::string> listed = read_file(path / "cgroup.procs");
  return listed.ok() && trim(listed.value()).empty();
}

bool offers_cpu(const std::filesystem::path& path) {
  const Result<std::string> offered = read_file(path / "cgroup.controllers");
  if (!offered.ok()) return false;
  const std::vector<std::string> names = split(trim(offered.value()), ' ');
  return std::find(names.begin(), names.end(), "cpu") != names.end();
}

}  // namespace

Result<Cgroup> Cgroup::create(std::string_view name) {
  Result<Cgroup> made = create_in(true, name);
  if (made.ok()) return made;
  Result<Cgroup> freezer = create_in(false, name);
  // Of two failures the one about the newer tree says more, unless there is none.
  const bool only_v1 = made.error().code() == Code::NotFound;
  return freezer.ok() || only_v1 ? std::move(freezer) : std::move(made);
}

void Cgroup::remove_abandoned(std::string_view prefix, std::string_view spared) {
  const std::string wanted = std::string(kPrefix) + std::string(prefix);
  const std::string kept = std::string(kPrefix) + std::string(spared);
  for (const bool v2 : {true, false}) {
    const Result<std::filesystem::path> directory = own_directory(v2);
    if (!directory.ok()) continue;
    for (const std::filesystem::path& path : groups_below(directory.value())) {
      const std::string name = path.filename().string();
      if (!name.starts_with(wanted) || name.starts_with(kept)) continue;
      if (at(path).empty()) (void)at(path).remove();
    }
  }
}

bool Cgroup::is_freezer() const {
  return is_there(path_ / "freezer.state");
}

Status Cgroup::add(pid_t pid) const {
  return write_control(path_ / "cgroup.procs", std::to_string(pid));
}

Status Cgroup::set_cpu_weight(unsigned weight) const {
  const std::filesystem::path above = path_.parent_path();
  if (!is_there(path_ / "cpu.weight") && offers_cpu(above) && may_have_controllers(above)) {
    (void)write_control(above / "cgroup.subtree_control", "+cpu");
  }
  return write_control(path_ / "cpu.weight", std::to_string(weight));
}

Status Cgroup::kill() const {
  if (!is_there(path_)) return error(Code::NotFound, "there is no cgroup '{}'", path_.string());
  if (is_freezer()) return kill_frozen(path_, true);
  // Kernels before 5.14 have no `cgroup.kill`.
  if (!is_there(path_ / "cgroup.kill")) return kill_frozen(path_, false);
  return write_control(path_ / "cgroup.kill", "1");
}

bool Cgroup::empty() const {
  return processes_in(path_).empty();
}

Status Cgroup::remove() const {
  if (::rmdir(path_.c_str()) == 0 || errno == ENOENT) return {};
  for (const std::filesystem::path& below : groups_below(path_)) (void)at(below).remove();
  if (::rmdir(path_.c_str()) == 0 || errno == ENOENT) return {};
  return errno_error(errno, "cannot remove cgroup '{}'", path_.string());
}

}  // namespace cirrus::os
