// SPDX-License-Identifier: MIT
#include "cli/worker_doctor.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/ids.h"
#include "base/strings.h"
#include "cli/api_command.h"
#include "cli/command.h"
#include "cli/worker_stack.h"
#include "os/cgroup.h"
#include "os/files.h"
#include "os/host.h"
#include "os/temp_dir.h"
#include "os/unix_socket.h"
#include "os/user.h"

namespace cirrus::cli {

namespace {

constexpr auto kReachTime = std::chrono::seconds(10);
// Ours: below this a clone or a log may fill the disk before anybody looks.
constexpr std::uint64_t kLittleSpace = 2ULL << 30U;
constexpr rlim_t kEnoughDescriptors = 4096;
constexpr rlim_t kEnoughProcesses = 1024;

class Findings {
 public:
  explicit Findings(std::vector<Finding>& list) : list_(list) {}
  void ok(std::string subject, std::string text) {
    list_.push_back({Finding::Level::Ok, std::move(subject), std::move(text)});
  }
  void warn(std::string subject, std::string text) {
    list_.push_back({Finding::Level::Warn, std::move(subject), std::move(text)});
  }
  void fail(std::string subject, std::string text) {
    list_.push_back({Finding::Level::Fail, std::move(subject), std::move(text)});
  }

 private:
  std::vector<Finding>& list_;
};

void examine_directory(const std::string& subject, const std::filesystem::path& directory,
                       std::uint64_t wanted, Findings findings) {
  if (const Status made = os::make_directories(directory, 0700); !made.ok()) {
    findings.fail(subject, made.error().to_string());
    return;
  }
  const std::filesystem::path probe = directory / (".doctor-" + random_hex(4));
  if (const Status written = os::write_file(probe, "x"); !written.ok()) {
    findings.fail(subject, fmt::format("'{}' cannot be written: {}", directory.string(),
                                       written.error().to_string()));
    return;
  }
  std::error_code ignored;
  std::filesystem::remove(probe, ignored);
  struct statvfs facts = {};
  if (::statvfs(directory.c_str(), &facts) == 0 && (facts.f_flag & ST_NOEXEC) != 0) {
    findings.fail(subject,
                  fmt::format("'{}' is mounted noexec, so neither the agent nor scripts can be "
                              "started there: remount it, or choose another place",
                              directory.string()));
    return;
  }
  const Result<std::uint64_t> left = os::free_space(directory);
  if (!left.ok()) {
    findings.warn(subject, left.error().to_string());
  } else if (left.value() < std::max(wanted, kLittleSpace)) {
    const std::string text = fmt::format("'{}' has {} MiB left: free some space",
                                         directory.string(), left.value() >> 20U);
    if (left.value() < wanted) {
      findings.fail(subject, text + "; below 'min-free-space' this worker takes no tasks");
    } else {
      findings.warn(subject, text);
    }
  } else {
    findings.ok(subject, fmt::format("'{}', {} GiB free", directory.string(), left.value() >> 30U));
  }
}

void examine_clock(Findings findings) {
  timex clock = {};
  const int state = ::adjtimex(&clock);
  if (state == TIME_ERROR || (static_cast<unsigned>(clock.status) & STA_UNSYNC) != 0) {
    findings.warn("clock",
                  "not synchronised: install chrony or systemd-timesyncd, or certificates and "
                  "time stamps may be refused");
  } else {
    findings.ok("clock", "synchronised");
  }
}

void examine_limits(Findings findings) {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_max != RLIM_INFINITY &&
      limit.rlim_max < kEnoughProcesses) {
    findings.warn("limits", fmt::format("at most {} processes of this user: raise LimitNPROC to {}",
                                        limit.rlim_max, kEnoughProcesses));
  }
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    if (limit.rlim_max < kEnoughDescriptors) {
      findings.warn("limits", fmt::format("at most {} open files: raise LimitNOFILE to {}",
                                          limit.rlim_max, kEnoughDescriptors));
    } else {
      findings.ok("limits", fmt::format("{} open files", limit.rlim_max));
    }
  }
}

void examine_cgroups(Findings findings) {
  const Result<os::Cgroup> group = os::Cgroup::create("doctor-" + random_hex(4));
  if (!group.ok()) {
    findings.warn("cgroups",
                  fmt::format("{}: ended tasks are cleaned up by searching all processes instead; "
                              "with systemd set Delegate=yes",
                              group.error().to_string()));
    return;
  }
  const bool freezer = group.value().is_freezer();
  const bool weighs = group.value().set_cpu_weight(100).ok();
  (void)group.value().remove();
  findings.ok("cgroups", freezer  ? "version 1, its freezer may be used"
                         : weighs ? "version 2, delegated with its cpu controller"
                                  : "version 2, delegated without its cpu controller: tasks give "
                                    "way to the worker by their priority alone");
}

void examine_users(const worker::Settings& settings, Findings findings) {
  const Result<os::User> self = os::current_user();
  const bool root = ::geteuid() == 0;
  if (!settings.task_user.empty()) {
    const Result<os::User> user = os::find_user(settings.task_user);
    if (!user.ok()) {
      findings.fail("task-user", user.error().to_string());
    } else if (!root && self.ok() && self.value().uid != user.value().uid) {
      findings.fail("task-user", "changing the user needs a worker that runs as root");
    } else {
      findings.ok("task-user",
                  fmt::format("tasks of isolation 'none' run as {}", user.value().name));
    }
  } else if (root) {
    findings.warn("task-user",
                  "tasks of isolation 'none' run as root and can read everything, the worker's "
                  "tokens included: set 'task-user'");
  } else {
    findings.warn("task-user",
                  "tasks of isolation 'none' can read what the worker's own user can, its tokens "
                  "included: set 'task-user' on a worker that runs as root, or forbid 'none'");
  }
}

void examine_tools(Findings findings) {
  const auto tool = [&](const char* name, const char* without) {
    const std::string path = os::find_program(name);
    if (path.empty()) {
      findings.warn(name, fmt::format("not on PATH: {}", without));
    } else {
      findings.ok(name, path);
    }
  };
  tool("git", "tasks of isolation 'none' cannot clone");
  bool engine = false;
  const char* host = std::getenv("DOCKER_HOST");
  std::vector<std::string> sockets{"/var/run/docker.sock", "/run/podman/podman.sock"};
  if (host != nullptr && std::string_view(host).starts_with("unix://")) {
    sockets.insert(sockets.begin(), std::string(host).substr(7));
  }
  for (const std::string& socket : sockets) {
    if (::access(socket.c_str(), F_OK) != 0) continue;
    if (os::connect_unix(socket).ok()) {
      findings.ok("containers", fmt::format("an engine answers at '{}'", socket));
      engine = true;
    } else {
      findings.warn("containers",
                    fmt::format("'{}' is there and does not answer: start the engine, or let the "
                                "worker's user use it",
                                socket));
    }
  }
  if (!engine && !os::find_program("podman").empty()) {
    findings.ok("containers", "podman is started on demand");
    engine = true;
  }
  if (!engine) {
    findings.warn("containers", "neither Docker nor Podman was found: isolation 'container' fails");
  }
  tool("tart", "isolation 'tart' fails");
  tool("vetu", "isolation 'vetu' fails");
}

}  // namespace

void examine_upstreams(const worker::Settings& settings, std::vector<Finding>& findings) {
  Findings list(findings);
  for (const worker::UpstreamSettings& upstream : settings.upstreams) {
    const rpc::UpstreamOptions options = upstream_options(upstream, settings.name, "");
    const std::string way =
        options.proxy.empty() ? "" : fmt::format(" through the proxy {}", options.proxy);
    const Status reached = rpc::probe_endpoint(options, system_clock().now() + kReachTime);
    if (reached.ok()) {
      list.ok("controller", upstream.endpoint + " answers" + way);
    } else {
      list.fail("controller",
                fmt::format("{}{}: {}: check the address, the firewall and, for https, 'ca-file'",
                            upstream.endpoint, way, reached.error().to_string()));
    }
  }
}

void examine_machine(const worker::Settings& settings, const std::filesystem::path& data_directory,
                     std::vector<Finding>& findings) {
  const Findings list(findings);
  examine_directory("data directory", data_directory, settings.min_free_space, list);
  examine_directory("working directories", os::temporary_root(), 0, list);
  examine_clock(list);
  examine_limits(list);
  examine_cgroups(list);
  examine_users(settings, list);
  examine_tools(list);
}

int print_findings(const std::vector<Finding>& findings, bool as_json) {
  int failed = 0;
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& finding : findings) {
    const char* level = "ok";
    if (finding.level == Finding::Level::Warn) level = "warn";
    if (finding.level == Finding::Level::Fail) {
      level = "FAIL";
      ++failed;
    }
    list.push_back(
        {{"level", to_lower(level)}, {"subject", finding.subject}, {"text", finding.text}});
    if (as_json) continue;
    std::printf("%-4s  %-20s %s\n", level, finding.subject.c_str(), finding.text.c_str());
  }
  if (as_json) {
    print_json({{"schema_version", 1}, {"findings", list}, {"problems", failed}});
    return failed > 0 ? kFailed : kOk;
  }
  if (failed > 0) std::printf("%d problem(s) must be solved before tasks can run\n", failed);
  return failed > 0 ? kFailed : kOk;
}

}  // namespace cirrus::cli
