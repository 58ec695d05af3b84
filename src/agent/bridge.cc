// SPDX-License-Identifier: MIT
#include "agent/bridge.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <vector>

#include "base/stop.h"
#include "os/fd.h"
#include "os/file_lock.h"
#include "os/files.h"
#include "os/process.h"
#include "os/unix_socket.h"

namespace cirrus::agent {
namespace {

constexpr std::size_t kMostBootstrap = 16U << 20U;  // Source: the bootstrap's own limit.
constexpr std::size_t kBuffer = 256 * 1024;
// Ours: how often a bridge that waits looks whether its agent lives, and how long it gives one that
// closed its connection to end.
constexpr int kLookMilliseconds = 250;
constexpr std::chrono::milliseconds kEndTime{300};

/// The private directory, ours alone: what runs here knows the task's secret.
Status own_directory(const std::filesystem::path& directory) {
  CIRRUS_TRY(os::make_directories(directory, 0700));
  struct stat facts {};
  if (::lstat(directory.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode) ||
      facts.st_uid != ::geteuid() || (facts.st_mode & 077U) != 0) {
    return error(Code::PermissionDenied, "'{}' is not a private directory of this user",
                 directory.string());
  }
  return {};
}

/// The frame as it came; empty at the end of the input.
Result<std::string> read_frame() {
  std::array<char, 1> first{};
  if (CIRRUS_TRY(os::read_some(STDIN_FILENO, first)) == 0) return std::string();
  std::string frame = first[0] + CIRRUS_TRY(os::read_exactly(STDIN_FILENO, 3));
  std::size_t size = 0;
  for (const char byte : frame) size = size << 8U | static_cast<unsigned char>(byte);
  if (size > kMostBootstrap) {
    return error(Code::InvalidArgument, "the bootstrap is too long: {} bytes", size);
  }
  return frame + CIRRUS_TRY(os::read_exactly(STDIN_FILENO, size));
}

/// Passes what one end has to the other. False: that end is at its end.
bool pass(int from, int to, std::vector<char>& buffer) {
  const Result<std::size_t> got = os::read_some(from, buffer);
  if (!got.ok() || got.value() == 0) return false;
  return os::write_all(to, {buffer.data(), got.value()}).ok();
}

bool agent_is_gone(const BridgeFiles& files, std::chrono::milliseconds patience) {
  const auto begun = std::chrono::steady_clock::now();
  while (os::FileLock::is_held(files.lock())) {
    if (std::chrono::steady_clock::now() - begun >= patience) return false;
    (void)wait_for(StopToken(), std::chrono::milliseconds(10));
  }
  return true;
}

Result<BridgeEnd> bridge(const BridgeFiles& files, const os::Fd& listener) {
  os::Fd agent;
  std::vector<char> buffer(kBuffer);
  for (;;) {
    // Nothing is read from the worker before somebody is there to take it.
    std::array<pollfd, 3> polled{
        {{listener.get(), POLLIN, 0},
         {agent.get(), POLLIN, 0},
         {STDIN_FILENO, static_cast<short>(agent.valid() ? POLLIN : 0), 0}}};
    const int ready = ::poll(polled.data(), polled.size(), agent.valid() ? -1 : kLookMilliseconds);
    if (ready < 0 && errno != EINTR) return errno_error(errno, "cannot wait for the agent");
    if (ready <= 0) {
      if (!agent.valid() && agent_is_gone(files, std::chrono::milliseconds(0))) {
        return BridgeEnd::AgentGone;
      }
      continue;
    }
    if (polled[0].revents != 0) {
      // A second connection: the agent has given the first one up, and so must the worker.
      if (agent.valid()) return BridgeEnd::Detached;
      agent = CIRRUS_TRY(os::accept_connection(listener.get()));
      continue;
    }
    if (polled[1].revents != 0 && !pass(agent.get(), STDOUT_FILENO, buffer)) {
      return agent_is_gone(files, kEndTime) ? BridgeEnd::AgentGone : BridgeEnd::Detached;
    }
    if (polled[2].revents != 0) {
      if (!agent.valid() || !pass(STDIN_FILENO, agent.get(), buffer)) return BridgeEnd::Detached;
    }
  }
}

Result<os::Fd> listen(const BridgeFiles& files) {
  return os::listen_unix(files.socket(), 0600);
}

}  // namespace

Result<BridgeEnd> bridge_start(const std::string& program, const std::filesystem::path& directory) {
  (void)::signal(SIGPIPE, SIG_IGN);
  const BridgeFiles files{directory};
  CIRRUS_TRY(own_directory(directory));
  // For whoever waits: the shell's greeting is over, and a bootstrap may come.
  CIRRUS_TRY(os::write_all(STDOUT_FILENO, model::kBridgeReady));
  const std::string frame = CIRRUS_TRY(read_frame().note("reading the bootstrap"));
  if (frame.empty()) return BridgeEnd::AgentGone;
  const os::Fd listener = CIRRUS_TRY(listen(files));
  {
    // The child keeps the lock for its life; ours goes at the end of this block.
    const os::FileLock lock = CIRRUS_TRY(os::FileLock::try_acquire(files.lock()));
    const os::Fd log =
        CIRRUS_TRY(os::open_file(files.log(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
    os::Pipe input = CIRRUS_TRY(os::make_pipe());
    os::SpawnOptions options;
    options.argv = {program, "run"};
    options.descriptors = {
        {0, input.read_end.get()}, {1, log.get()}, {2, log.get()}, {3, lock.descriptor()}};
    options.working_directory = "/";
    os::Process agent = CIRRUS_TRY(os::Process::spawn(options).note("starting the agent"));
    CIRRUS_TRY(os::write_all_at(lock.descriptor(), std::to_string(agent.pid()) + "\n", 0));
    input.read_end.reset();
    const Status sent = os::write_all(input.write_end.get(), frame);
    agent.release();
    CIRRUS_TRY(Status(sent));
  }
  return bridge(files, listener);
}

Result<BridgeEnd> bridge_attach(const std::filesystem::path& directory) {
  (void)::signal(SIGPIPE, SIG_IGN);
  const BridgeFiles files{directory};
  if (!os::FileLock::is_held(files.lock())) return BridgeEnd::AgentGone;
  CIRRUS_TRY(own_directory(directory));
  const os::Fd listener = CIRRUS_TRY(listen(files));
  CIRRUS_TRY(os::write_all(STDOUT_FILENO, model::kBridgeReady));
  return bridge(files, listener);
}

bool bridge_alive(const std::filesystem::path& directory) {
  return os::FileLock::is_held(BridgeFiles{directory}.lock());
}

Status bridge_signal(const std::filesystem::path& directory, int signal) {
  const BridgeFiles files{directory};
  const std::string text = CIRRUS_TRY(os::read_file(files.lock(), 64));
  pid_t pid = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), pid);
  if (pid <= 1 || !os::FileLock::is_held(files.lock())) {
    return error(Code::NotFound, "there is no agent");
  }
  if (::kill(pid, signal) != 0) return errno_error(errno, "cannot signal the agent");
  return {};
}

}  // namespace cirrus::agent
