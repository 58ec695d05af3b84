// SPDX-License-Identifier: MIT
#include "isolation/none/none.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <mutex>

#include "base/fail_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "isolation/framing.h"
#include "isolation/none/tree_end.h"
#include "isolation/none/working_directory.h"
#include "os/cgroup.h"
#include "os/file_lock.h"
#include "os/files.h"
#include "os/memory_events.h"
#include "os/priority.h"
#include "os/proc.h"
#include "os/waker.h"

namespace cirrus::isolation {

namespace {

constexpr char kLockHandle[] = "lock";
constexpr char kSocketHandle[] = "gateway-socket";
constexpr char kScratchHandle[] = "scratch";
constexpr auto kEndTime = std::chrono::seconds(10);
// Of the worker's 100. Ours: what 5 nice levels are worth, which is how tasks give way to the
// worker elsewhere (os/priority.h). Source: kernel, sched_prio_to_weight: 335 of 1024.
constexpr unsigned kTaskWeight = 33;

class NoneInstance final : public Instance {
 public:
  NoneInstance(InstanceRecord record, std::optional<os::Process> process, os::Fd input,
               os::Fd watched)
      : record_(std::move(record)),
        process_(std::move(process)),
        input_(std::move(input)),
        watched_(std::move(watched)) {
    if (process_) memory_ = os::MemoryEvents::of(process_->pid());
    kills_ = memory_kills();
  }
  // The agent outlives its worker: letting go of an instance must not end it.
  ~NoneInstance() override {
    if (process_ && !process_->try_wait()) process_->release();
  }

  const InstanceRecord& record() const override { return record_; }
  GuestPaths guest_paths() const override {
    const auto handle = [&](const char* name) {
      const auto found = record_.handles.find(name);
      return found == record_.handles.end() ? std::string() : found->second;
    };
    return {.gateway_socket = handle(kSocketHandle),
            .scratch_directory = handle(kScratchHandle),
            .working_directory = record_.working_directory,
            .shares_machine = true};
  }

  Status send_bootstrap(std::string_view message) override {
    Status sent = os::write_all(input_.get(), framed(message));
    input_.reset();
    return std::move(sent).note("handing the task to its agent");
  }

  bool wait_end(const StopToken& stop, std::optional<Monotonic> deadline) override {
    if (ended_) return true;
    if (process_) {
      ended_ = process_->wait(stop, deadline).ok();
    } else if (watched_.valid()) {
      const Result<bool> readable = os::wait_readable(watched_.get(), stop, deadline);
      ended_ = readable.ok() && readable.value();
    } else {
      ended_ = true;
    }
    return ended_;
  }

  std::string end_description() const override {
    if (!process_ || !process_->reaped()) return {};
    os::Process& process = const_cast<os::Process&>(*process_);
    const std::optional<os::ExitStatus> status = process.try_wait();
    if (!status) return {};
    // In a group of several tasks it may have been another's process: so much is sure.
    const bool no_memory = status->signal == SIGKILL && memory_kills() > kills_;
    return status->describe() +
           (no_memory ? "; the kernel killed processes there for want of memory" : "");
  }

  bool marks_receipt() const override { return true; }
  bool may_have_begun() const override {
    const auto lock = record_.handles.find(kLockHandle);
    if (lock == record_.handles.end()) return true;
    const Result<std::string> text = os::read_file(lock->second, 4096);
    return !text.ok() || text.value().find("\nreceived\n") != std::string::npos;
  }

  void interrupt() override {
    if (alive()) (void)::kill(static_cast<pid_t>(record_.agent_pid), SIGTERM);
  }

  Status destroy() override {
    Status first;
    const auto keep = [&first](Status status) {
      if (first.ok() && !status.ok()) first = std::move(status);
    };
    keep(end_tree({.agent = static_cast<pid_t>(record_.agent_pid),
                   .agent_start_time = record_.agent_start_time,
                   .cgroup_path = record_.cgroup_path,
                   .task_cookie = record_.task_cookie}));
    if (process_ && !process_->try_wait()) {
      (void)process_->wait(StopToken(), system_clock().now() + kEndTime);
    }
    if (!record_.working_directory.empty()) keep(os::remove_tree(record_.working_directory));
    record_.working_directory.clear();
    if (const auto scratch = record_.handles.find(kScratchHandle);
        scratch != record_.handles.end()) {
      keep(os::remove_tree(scratch->second));
    }
    return first;
  }

 private:
  bool alive() const {
    return record_.agent_pid > 0 &&
           os::is_alive(static_cast<pid_t>(record_.agent_pid), record_.agent_start_time);
  }

  std::uint64_t memory_kills() const { return memory_ ? memory_->kills().value_or(0) : 0; }

  InstanceRecord record_;
  std::optional<os::Process> process_;  // absent: adopted
  std::optional<os::MemoryEvents> memory_;
  std::uint64_t kills_ = 0;  // before this one was launched
  os::Fd input_;
  os::Fd watched_;  // a pidfd, if adopted alive
  bool ended_ = false;
};

// An agent that waits for its bootstrap.
struct IdleAgent {
  os::Process process;
  os::Fd input;
  std::filesystem::path lock_file;
  std::filesystem::path agent_log;
  std::string cgroup_path;
  LaunchRequest request;
};

// An agent that an earlier worker launched for the same task and never told what to do is on its
// way out: it may still hold the lock of that name for a moment, so a new file takes its place.
void forget_previous_agent(const std::filesystem::path& lock_file) {
  const Result<std::string> text = os::read_file(lock_file, 4096);
  if (!text.ok()) return;
  const std::string group = split(text.value(), '\n').front();
  if (!group.empty()) (void)end_group(group);
  std::error_code ignored;
  std::filesystem::remove(lock_file, ignored);
}

// The agent sorts its steps into groups below its own, so they must be its user's.
void delegate(const os::Cgroup& group, const os::User& user) {
  for (const std::filesystem::path& path :
       {group.path(), group.path() / "cgroup.procs", group.path() / "cgroup.subtree_control"}) {
    const Status given = os::give_to(path, user);
    if (!given.ok()) log_debug("cgroup not delegated", {{"error", given.error()}});
  }
}

// `group`: the name of its control group.
Result<IdleAgent> start_agent(const LaunchRequest& request, const std::string& group) {
  const os::FileLock lock = CIRRUS_TRY(os::FileLock::try_acquire(request.lock_file));
  const os::Fd log = CIRRUS_TRY(
      os::open_file(request.agent_log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
  os::Pipe input = CIRRUS_TRY(os::make_pipe());
  os::SpawnOptions options;
  options.argv = {request.agent_program.string(), "run"};
  options.environment = request.environment;
  if (request.user) {
    options.argv.insert(options.argv.end(), {"--as", request.user->identity()});
    os::Environment& environment = *options.environment;
    environment.insert_or_assign("HOME", request.user->home);
    environment.insert_or_assign("USER", request.user->name);
    environment.insert_or_assign("LOGNAME", request.user->name);
    environment.insert_or_assign("SHELL", request.user->shell);
    // The worker's own place for temporary files may be closed to that user.
    environment.insert_or_assign("TMPDIR", CIRRUS_TRY(place_for(request.user)).string());
    for (const char* name :
         {"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME",
          "SUDO_USER", "SUDO_UID", "SUDO_GID", "SUDO_COMMAND", "MAIL"}) {
      environment.erase(name);
    }
  }
  options.descriptors = {
      {0, input.read_end.get()}, {1, log.get()}, {2, log.get()}, {3, lock.descriptor()}};
  options.working_directory = "/";
  options.kill_grace = std::chrono::milliseconds(0);
  std::string cgroup_path;
  const Result<os::Cgroup> cgroup = os::Cgroup::create(group);
  crash_point("none.group.made");
  os::Process process = CIRRUS_TRY(os::Process::spawn(options).note("starting the agent"));
  crash_point("none.agent.spawned");
  // The worker must be heard however busy its tasks are, and be the last to go for want of memory.
  os::let_others_first(process.pid());
  if (cgroup.ok()) {
    // The agent is still waiting for its bootstrap: nothing of the task can be outside.
    if (cgroup.value().add(process.pid()).ok()) {
      cgroup_path = cgroup.value().path().string();
      if (request.user) delegate(cgroup.value(), *request.user);
      // Whoever finds the lock released knows which group to remove.
      (void)os::write_all_at(lock.descriptor(), cgroup_path, 0);
    } else {
      (void)cgroup.value().remove();
    }
  }
  return IdleAgent{std::move(process), std::move(input.write_end),
                   request.lock_file,  request.agent_log,
                   cgroup_path,        request};
}

// Below the ledger of a task's directories lies nothing else of this isolation.
Result<TaskDirectories> directories_of(const LaunchRequest& request) {
  return TaskDirectories::of(request.task_cookie, CIRRUS_TRY(place_for(request.user)),
                             request.lock_file.parent_path() / "working-directory");
}

/// How long an agent that was given its task has the processors for itself before the next one is
/// made ready: about what it takes from there to the first line of a script.
constexpr std::chrono::milliseconds kHeadStart{20};

class None final : public NoneIsolation {
 public:
  None(bool keep_ready_agent, const std::string& owner)
      : keep_ready_(keep_ready_agent), owner_(owner), generation_(owner + "-" + random_hex(3)) {}
  ~None() override {
    maker_.request_stop();
    if (maker_.joinable()) maker_.join();
    if (ready_) discard(*ready_);
  }

  bool launches_at_once() const override { return true; }

  Result<std::unique_ptr<Instance>> launch(const LaunchRequest& request,
                                           const StopToken&) override {
    InstanceRecord record;
    record.task_cookie = request.task_cookie;
    const TaskDirectories directories = CIRRUS_TRY(directories_of(request));
    CIRRUS_TRY(remove_earlier(directories).note("removing what an earlier start left"));
    record.working_directory = CIRRUS_TRY(make_working_directory(directories)).string();
    record.handles[kLockHandle] = request.lock_file.string();
    record.handles[kSocketHandle] = request.gateway_socket.string();
    record.handles[kScratchHandle] = request.scratch_directory.string();
    const auto prepared = [&]() -> Result<IdleAgent> {
      if (request.user) {
        CIRRUS_TRY(os::give_to(record.working_directory, *request.user));
        // The worker's own state is closed to that user.
        CIRRUS_TRY(make_scratch_directory(directories));
        CIRRUS_TRY(os::give_to(directories.scratch, *request.user));
        record.handles[kScratchHandle] = directories.scratch.string();
      } else {
        CIRRUS_TRY(os::make_directories(request.scratch_directory));
      }
      return take(request);
    };
    Result<IdleAgent> agent = prepared();
    if (!agent.ok()) {
      (void)os::remove_tree(record.working_directory);
      (void)os::remove_tree(record.handles[kScratchHandle]);
      return std::move(agent).error();
    }
    record.agent_pid = agent.value().process.pid();
    record.agent_start_time = os::process_start_time(agent.value().process.pid()).value_or(0);
    record.cgroup_path = agent.value().cgroup_path;
    return std::unique_ptr<Instance>(
        std::make_unique<NoneInstance>(std::move(record), std::move(agent.value().process),
                                       std::move(agent.value().input), os::Fd()));
  }

  void remove_leftovers() override { os::Cgroup::remove_abandoned(owner_ + "-", generation_); }

  Result<std::unique_ptr<Instance>> adopt(const InstanceRecord& record) override {
    os::Fd watched;
    const auto pid = static_cast<pid_t>(record.agent_pid);
    if (pid > 0 && os::is_alive(pid, record.agent_start_time)) {
      // The pid may have been reused between the check and the open: check once more after it.
      watched = os::open_pidfd(pid);
      if (!os::is_alive(pid, record.agent_start_time)) watched.reset();
    }
    return std::unique_ptr<Instance>(
        std::make_unique<NoneInstance>(record, std::nullopt, os::Fd(), std::move(watched)));
  }

 private:
  static void discard(IdleAgent& agent) {
    agent.input.reset();  // end of its input: it exits
    (void)agent.process.terminate(std::chrono::milliseconds(0));
    if (!agent.cgroup_path.empty()) (void)end_group(agent.cgroup_path);
    std::error_code ignored;
    std::filesystem::remove(agent.lock_file, ignored);
    std::filesystem::remove(agent.agent_log, ignored);
  }

  // The ready agent if it is alive and was made for the same program and environment; the lock
  // and log files move into the task's directory (a lock belongs to the file, not to its name).
  Result<IdleAgent> take(const LaunchRequest& request) {
    forget_previous_agent(request.lock_file);
    std::optional<IdleAgent> agent;
    {
      const std::lock_guard lock(mutex_);
      agent = std::move(ready_);
      ready_.reset();
    }
    if (agent) {
      const bool fits = agent->request.agent_program == request.agent_program &&
                        agent->request.environment == request.environment &&
                        agent->request.user == request.user && !agent->process.try_wait();
      if (fits && ::rename(agent->lock_file.c_str(), request.lock_file.c_str()) == 0) {
        (void)::rename(agent->agent_log.c_str(), request.agent_log.c_str());
        prepare_next(request);
        return std::move(*agent);
      }
      discard(*agent);
    }
    Result<IdleAgent> started = start(request);
    prepare_next(request);
    return started;
  }

  Result<IdleAgent> start(const LaunchRequest& request) {
    IdleAgent agent = CIRRUS_TRY(start_agent(request, group_name()));
    if (agent.cgroup_path.empty()) return agent;
    // In a group of its own, how nice a process is no longer counts against those outside.
    const Status weighed = os::Cgroup::at(agent.cgroup_path).set_cpu_weight(kTaskWeight);
    if (!weighed.ok()) {
      std::call_once(unweighed_, [&] {
        log_info("tasks give way to the worker by their priority alone: no cpu weights here",
                 {{"error", weighed.error()}});
      });
    }
    return agent;
  }

  void prepare_next(const LaunchRequest& like) {
    if (!keep_ready_) return;
    const std::lock_guard lock(mutex_);
    if (ready_ || making_) return;
    making_ = true;
    if (maker_.joinable()) maker_.join();
    LaunchRequest request = like;
    const std::filesystem::path directory = like.lock_file.parent_path().parent_path();
    const std::string name = ".ready-" + random_hex(6);
    request.lock_file = directory / (name + ".lock");
    request.agent_log = directory / (name + ".log");
    maker_ = Thread([this, request](const StopToken& stop) { make_ready(request, stop); });
  }

  void make_ready(const LaunchRequest& request, const StopToken& stop) {
    Result<IdleAgent> agent = wait_for(stop, kHeadStart)
                                  ? start(request)
                                  : Result<IdleAgent>(error(Code::Cancelled, "stopped"));
    const std::lock_guard lock(mutex_);
    making_ = false;
    if (agent.ok()) {
      ready_ = std::move(agent).value();
    } else if (!stop.stop_requested()) {
      log_warning("no agent could be kept ready", {{"error", agent.error()}});
    }
  }

  // Tells the groups of this process from those of an earlier worker of the same owner.
  std::string group_name() const { return generation_ + "-" + random_hex(4); }

  const bool keep_ready_;
  const std::string owner_;
  const std::string generation_;
  std::mutex mutex_;
  std::optional<IdleAgent> ready_;  // guarded by mutex_
  bool making_ = false;             // guarded by mutex_
  std::once_flag unweighed_;
  Thread maker_;  // guarded by mutex_
};

}  // namespace

std::unique_ptr<NoneIsolation> make_none(bool keep_ready_agent, const std::string& owner) {
  return std::make_unique<None>(keep_ready_agent, owner);
}

}  // namespace cirrus::isolation
