// SPDX-License-Identifier: MIT
// Linux half: pidfd. A Darwin twin replaces pidfd_open by a kqueue with EVFILT_PROC (readable the
// same way) and closefrom by POSIX_SPAWN_CLOEXEC_DEFAULT; the rest is POSIX.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "os/process.h"
#include "os/waker.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX leaves it undeclared

namespace cirrus::os {

namespace {

int pidfd_open(pid_t pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

ExitStatus from_siginfo(const siginfo_t& info) {
  ExitStatus status;
  if (info.si_code == CLD_EXITED) {
    status.code = info.si_status;
  } else {
    status.signal = info.si_status;
  }
  return status;
}

struct SpawnActions {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnActions() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  ~SpawnActions() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  list.reserve(texts.size() + 1);
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

}  // namespace

Environment current_environment() {
  Environment environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    environment.emplace(std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)));
  }
  return environment;
}

std::string ExitStatus::describe() const {
  if (code) return fmt::format("exit status {}", *code);
  const int number = signal.value_or(0);
  const char* name = ::sigdescr_np(number);
  return fmt::format("killed by signal {} ({})", number, name != nullptr ? name : "unknown");
}

Result<Process> Process::spawn(const SpawnOptions& options) {
  if (options.argv.empty()) return error(Code::InvalidArgument, "no program to run");
  std::vector<std::string> argv = options.argv;
  std::vector<std::string> variables;
  if (options.environment) {
    variables.reserve(options.environment->size());
    for (const auto& [key, value] : *options.environment) variables.push_back(key + "=" + value);
  }
  SpawnActions spawn;
  // Descriptors of ours that collide with child numbers are moved out of the way first, so that
  // {1: 0, 0: 1} means what it says.
  std::vector<Fd> moved;
  for (int number = 0; number <= 2; ++number) {
    if (options.terminal) {
      // A session's leader that opens a terminal takes it for its own; the session comes first.
      ::posix_spawn_file_actions_addopen(&spawn.actions, number, options.terminal->c_str(), O_RDWR,
                                         0);
    } else if (!options.descriptors.contains(number) && !options.inherit_stdio) {
      ::posix_spawn_file_actions_addopen(&spawn.actions, number, "/dev/null", O_RDWR, 0);
    }
  }
  for (const auto& [child, ours] : options.descriptors) {
    int source = ours;
    if (ours <= 16) {
      const int copy = ::fcntl(ours, F_DUPFD_CLOEXEC, 17);
      if (copy < 0) return errno_error(errno, "cannot hand descriptor {} to a child", ours);
      moved.emplace_back(copy);
      source = copy;
    }
    ::posix_spawn_file_actions_adddup2(&spawn.actions, source, child);
  }
  // Whatever else is open, ours or inherited by us, is not the child's business.
  int first_closed = 3;
  for (const auto& [child, ours] : options.descriptors) {
    for (; first_closed < child; ++first_closed) {
      ::posix_spawn_file_actions_addclose(&spawn.actions, first_closed);
    }
    first_closed = std::max(first_closed, child + 1);
  }
  ::posix_spawn_file_actions_addclosefrom_np(&spawn.actions, first_closed);
  if (options.working_directory) {
    ::posix_spawn_file_actions_addchdir_np(&spawn.actions, options.working_directory->c_str());
  }
  sigset_t none;
  sigemptyset(&none);
  sigset_t all;
  sigfillset(&all);
  ::posix_spawnattr_setsigmask(&spawn.attributes, &none);
  ::posix_spawnattr_setsigdefault(&spawn.attributes, &all);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (options.new_session) flags = static_cast<short>(flags | POSIX_SPAWN_SETSID);
  ::posix_spawnattr_setflags(&spawn.attributes, flags);

  std::vector<char*> argv_list = pointers(argv);
  std::vector<char*> variable_list = pointers(variables);
  pid_t pid = -1;
  const int failure =
      ::posix_spawnp(&pid, argv_list[0], &spawn.actions, &spawn.attributes, argv_list.data(),
                     options.environment ? variable_list.data() : environ);
  if (failure != 0) return errno_error(failure, "cannot run '{}'", options.argv.front());
  const int pidfd = pidfd_open(pid);
  if (pidfd < 0) {
    const int number = errno;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return errno_error(number, "cannot watch process {}", pid);
  }
  (void)::fcntl(pidfd, F_SETFD, FD_CLOEXEC);
  return Process(pid, Fd(pidfd), options.kill_grace, options.new_session);
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      grace_(other.grace_),
      own_group_(other.own_group_),
      exit_(other.exit_) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    end_now();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    grace_ = other.grace_;
    own_group_ = other.own_group_;
    exit_ = other.exit_;
  }
  return *this;
}

Process::~Process() {
  end_now();
}

void Process::end_now() {
  if (pid_ > 0 && !exit_) (void)terminate(grace_);
}

std::optional<ExitStatus> Process::try_wait() {
  if (exit_ || pid_ <= 0) return exit_;
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG) != 0) {
    // Somebody else reaped it (or SIGCHLD is ignored): the end is certain, the code is not.
    if (errno == ECHILD) exit_ = ExitStatus{.code = std::nullopt, .signal = SIGKILL};
    return exit_;
  }
  if (info.si_pid == 0) return std::nullopt;
  exit_ = from_siginfo(info);
  return exit_;
}

Result<ExitStatus> Process::wait(const StopToken& stop, std::optional<Monotonic> deadline) {
  for (;;) {
    if (const std::optional<ExitStatus> ended = try_wait()) return *ended;
    if (pid_ <= 0) return error(Code::FailedPrecondition, "no process to wait for");
    const bool readable = CIRRUS_TRY(wait_readable(pidfd_.get(), stop, deadline));
    if (readable) continue;
    if (stop.stop_requested()) return error(Code::Cancelled, "the wait was cancelled");
    return error(Code::DeadlineExceeded, "process {} is still running", pid_);
  }
}

void Process::send_signal(int number) const {
  if (pid_ > 0 && !exit_) (void)::kill(pid_, number);
}

void Process::send_signal_to_group(int number) const {
  if (pid_ <= 0) return;
  if (own_group_) {
    (void)::kill(-pid_, number);
  } else if (!exit_) {
    (void)::kill(pid_, number);
  }
}

ExitStatus Process::terminate(std::chrono::milliseconds grace) {
  if (!exit_ && pid_ > 0) {
    if (grace.count() > 0) {
      send_signal_to_group(SIGTERM);
      (void)wait(StopToken(), std::chrono::steady_clock::now() + grace);
    }
    send_signal_to_group(SIGKILL);
    while (!try_wait()) (void)wait(StopToken(), std::nullopt);
  }
  return exit_.value_or(ExitStatus{.code = 0, .signal = std::nullopt});
}

void Process::release() {
  pid_ = -1;
  pidfd_.reset();
}

Result<CommandOutput> run_command(SpawnOptions options, std::string_view input,
                                  const StopToken& stop, Monotonic deadline, std::size_t limit) {
  Pipe in = CIRRUS_TRY(make_pipe());
  Pipe out = CIRRUS_TRY(make_pipe());
  Pipe err = CIRRUS_TRY(make_pipe());
  options.descriptors[0] = in.read_end.get();
  options.descriptors[1] = out.write_end.get();
  options.descriptors[2] = err.write_end.get();
  Process process = CIRRUS_TRY(Process::spawn(options));
  in.read_end.reset();
  out.write_end.reset();
  err.write_end.reset();
  CIRRUS_TRY(set_nonblocking(in.write_end.get(), true));
  CIRRUS_TRY(set_nonblocking(out.read_end.get(), true));
  CIRRUS_TRY(set_nonblocking(err.read_end.get(), true));
  if (input.empty()) in.write_end.reset();

  Waker waker = CIRRUS_TRY(Waker::create());
  const StopCallback on_stop(stop, [&] { waker.wake(); });
  CommandOutput result;
  std::vector<char> buffer(64U << 10U);
  const auto drain = [&](Fd& fd, std::string& into) {
    for (;;) {
      const Result<std::size_t> got = read_some(fd.get(), buffer);
      if (!got.ok() && got.error().code() == Code::Unavailable) return;
      if (!got.ok() || got.value() == 0) {
        fd.reset();
        return;
      }
      into.append(buffer.data(), std::min(got.value(), limit - std::min(limit, into.size())));
    }
  };
  bool ended = false;
  while (!ended || out.read_end.valid() || err.read_end.valid()) {
    if (stop.stop_requested()) return error(Code::Cancelled, "'{}' was cancelled", options.argv[0]);
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) {
      return error(Code::DeadlineExceeded, "'{}' did not end in time", options.argv[0]);
    }
    // Once the process has ended, whoever still holds its output gets 200 ms to let go.
    const auto until = ended ? std::min(deadline, now + std::chrono::milliseconds(200)) : deadline;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
    pollfd polled[5] = {{out.read_end.get(), POLLIN, 0},
                        {err.read_end.get(), POLLIN, 0},
                        {in.write_end.get(), POLLOUT, 0},
                        {ended ? -1 : process.pidfd(), POLLIN, 0},
                        {waker.fd(), POLLIN, 0}};
    const int ready = ::poll(polled, 5, static_cast<int>(std::min<std::int64_t>(left, 1 << 30)));
    if (ready < 0 && errno != EINTR) return errno_error(errno, "cannot poll");
    if (out.read_end.valid() && polled[0].revents != 0) drain(out.read_end, result.output);
    if (err.read_end.valid() && polled[1].revents != 0) drain(err.read_end, result.errors);
    if (in.write_end.valid() && polled[2].revents != 0) {
      const ssize_t written = ::write(in.write_end.get(), input.data(), input.size());
      if (written > 0) input.remove_prefix(static_cast<std::size_t>(written));
      if ((written < 0 && errno != EAGAIN && errno != EINTR) || input.empty()) in.write_end.reset();
    }
    if (!ended && process.try_wait()) {
      ended = true;
      in.write_end.reset();
    } else if (ended && ready == 0) {
      break;
    }
  }
  result.status = *process.try_wait();
  return result;
}

}  // namespace cirrus::os
