// SPDX-License-Identifier: MIT
// A darwin twin has two scopes: proc_pid_rusage over the descendants, and host_statistics64.
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <thread>

#include "base/strings.h"
#include "os/control_group.h"
#include "os/files.h"
#include "os/proc.h"
#include "os/usage.h"

namespace cirrus::os {
namespace {

constexpr std::uint64_t kKiB = 1024;

double ticks() {
  static const double per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  return per_second;
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

/// Source: proc_pid_stat(5): fields 14 to 17 are user and system time of the process and of the
/// children it has waited for, 24 its resident pages.
void add_process(pid_t pid, Usage& usage) {
  const Result<std::string> stat = read_file(fmt::format("/proc/{}/stat", pid), 16U << 10U);
  if (!stat.ok()) return;
  const std::size_t name_end = stat.value().rfind(')');
  if (name_end == std::string::npos) return;
  std::istringstream fields(stat.value().substr(name_end + 1));
  std::string field;
  for (int number = 3; fields >> field && number <= 24; ++number) {
    std::int64_t value = 0;
    std::from_chars(field.data(), field.data() + field.size(), value);
    if (number >= 14 && number <= 17) usage.cpu_seconds += static_cast<double>(value) / ticks();
    if (number == 24 && value > 0) {
      usage.memory_bytes +=
          static_cast<std::uint64_t>(value) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    }
  }
}

/// Our descendants, but not by a walk over all processes where that can be helped: a busy machine
/// has thousands, and every task asks.
std::vector<pid_t> family() {
  std::optional<std::vector<pid_t>> open = children_of(::getpid());
  if (!open) return descendants_of(::getpid());
  std::vector<pid_t> found;
  while (!open->empty()) {
    const pid_t pid = open->back();
    open->pop_back();
    found.push_back(pid);
    const std::vector<pid_t> children = children_of(pid).value_or(std::vector<pid_t>{});
    open->insert(open->end(), children.begin(), children.end());
  }
  return found;
}

Usage usage_of_descendants() {
  Usage usage;
  rusage waited_for{};
  if (::getrusage(RUSAGE_CHILDREN, &waited_for) == 0) {
    usage.cpu_seconds = seconds(waited_for.ru_utime) + seconds(waited_for.ru_stime);
  }
  for (const pid_t pid : family()) add_process(pid, usage);
  return usage;
}

std::optional<double> group_cpu(const std::filesystem::path& group, bool v2) {
  const auto used = v2 ? number_after(group / "cpu.stat", "usage_usec ")
                       : number_after(group / "cpuacct.usage", "");
  if (!used) return std::nullopt;
  return static_cast<double>(*used) / (v2 ? 1e6 : 1e9);
}

std::optional<std::uint64_t> group_memory(const std::filesystem::path& group, bool v2) {
  const auto used = number_after(group / (v2 ? "memory.current" : "memory.usage_in_bytes"), "");
  if (!used) return std::nullopt;
  const auto idle =
      number_after(group / "memory.stat", v2 ? "inactive_file " : "total_inactive_file ");
  return *used - std::min(*used, idle.value_or(0));
}

/// Bytes; lines of this file end in `kB`, which is 1,024 bytes. Source: proc_meminfo(5).
std::optional<std::uint64_t> machine_memory(std::string_view key) {
  const Result<std::string> table = read_file("/proc/meminfo", 64U << 10U);
  if (!table.ok()) return std::nullopt;
  for (const std::string& line : split(table.value(), '\n')) {
    if (!line.starts_with(key)) continue;
    std::istringstream fields(line.substr(key.size()));
    std::uint64_t kibibytes = 0;
    if (fields >> kibibytes) return kibibytes * kKiB;
  }
  return std::nullopt;
}

std::optional<Usage> usage_of_machine() {
  const Result<std::string> stat = read_file("/proc/stat", 1U << 20U);
  const auto total = machine_memory("MemTotal:");
  const auto available = machine_memory("MemAvailable:");
  if (!stat.ok() || !total || !available) return std::nullopt;
  // cpu user nice system idle iowait irq softirq steal
  std::istringstream fields(stat.value());
  std::string name;
  fields >> name;
  double busy = 0;
  for (int at = 0; at < 8; ++at) {
    double value = 0;
    fields >> value;
    if (at != 3 && at != 4) busy += value;
  }
  return Usage{busy / ticks(), *total - std::min(*total, *available)};
}

/// `max` or a number, then the period.
std::optional<double> group_cpus(const std::filesystem::path& group, bool v2) {
  if (!v2) {
    const auto quota = number_after(group / "cpu.cfs_quota_us", "");  // -1 is no number here
    const auto period = number_after(group / "cpu.cfs_period_us", "");
    if (!quota || !period || *period == 0) return std::nullopt;
    return static_cast<double>(*quota) / static_cast<double>(*period);
  }
  const Result<std::string> text = read_file(group / "cpu.max", 4096);
  if (!text.ok() || text.value().starts_with("max")) return std::nullopt;
  std::istringstream fields(text.value());
  double quota = 0;
  double period = 0;
  if (!(fields >> quota >> period) || period <= 0) return std::nullopt;
  return quota / period;
}

}  // namespace

UsageMeter UsageMeter::of_descendants() {
  UsageMeter meter;
  meter.scope_ = Scope::Descendants;
  return meter;
}

UsageMeter UsageMeter::of_surroundings() {
  UsageMeter meter;
  for (const bool v2 : {false, true}) {
    const auto cpu = control_group_of(::getpid(), "cpuacct", v2);
    const auto memory = control_group_of(::getpid(), "memory", v2);
    if (!cpu || !memory) continue;
    // The root of a machine has no numbers of its own, or those of the machine.
    if (!group_cpu(cpu->path, v2) || !group_memory(memory->path, v2)) continue;
    meter.cpu_ = {cpu->path, v2};
    meter.memory_ = {memory->path, v2};
    meter.scope_ = Scope::Group;
    return meter;
  }
  return meter;
}

Result<Usage> UsageMeter::read() const {
  if (scope_ == Scope::Descendants) return usage_of_descendants();
  if (scope_ == Scope::Group) {
    const auto cpu = group_cpu(cpu_.path, cpu_.v2);
    const auto memory = group_memory(memory_.path, memory_.v2);
    if (cpu && memory) return Usage{*cpu, *memory};
  } else if (const std::optional<Usage> usage = usage_of_machine()) {
    return *usage;
  }
  return error(Code::Unavailable, "the kernel does not say what this task uses");
}

UsageLimits UsageMeter::limits() const {
  UsageLimits limits{static_cast<double>(std::max(1U, std::thread::hardware_concurrency())), 0};
  if (const auto total = machine_memory("MemTotal:")) {
    limits.memory_bytes = *total;
  }
  if (scope_ != Scope::Group) return limits;
  if (const auto cpus = group_cpus(cpu_.path, cpu_.v2)) limits.cpus = std::min(limits.cpus, *cpus);
  const auto memory =
      number_after(memory_.path / (memory_.v2 ? "memory.max" : "memory.limit_in_bytes"), "");
  if (memory) limits.memory_bytes = std::min(limits.memory_bytes, *memory);
  return limits;
}

}  // namespace cirrus::os
