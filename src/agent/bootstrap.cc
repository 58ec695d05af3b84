// SPDX-License-Identifier: MIT
#include "agent/bootstrap.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "os/proc.h"

namespace cirrus::agent {
namespace {

constexpr std::size_t kMaxBootstrap = 16U << 20U;

}  // namespace

Result<std::optional<gateway::v1::Bootstrap>> read_bootstrap(int fd) {
  std::array<char, 1> first{};
  const std::size_t got = CIRRUS_TRY(os::read_some(fd, first));
  if (got == 0) return std::optional<gateway::v1::Bootstrap>();
  const std::string prefix =
      first[0] + CIRRUS_TRY(os::read_exactly(fd, 3).note("reading the bootstrap's length"));
  std::size_t size = 0;
  for (const char c : prefix) size = (size << 8U) | static_cast<unsigned char>(c);
  if (size > kMaxBootstrap) {
    return error(Code::InvalidArgument, "the bootstrap is too long: {} bytes", size);
  }
  const std::string bytes = CIRRUS_TRY(os::read_exactly(fd, size).note("reading the bootstrap"));
  gateway::v1::Bootstrap bootstrap;
  if (!bootstrap.ParseFromString(bytes)) {
    return error(Code::InvalidArgument, "the bootstrap is not a message of this protocol");
  }
  return std::optional<gateway::v1::Bootstrap>(std::move(bootstrap));
}

Status mark_receipt(int fd) {
  // The worker wrote its part at the beginning, by position.
  if (::lseek(fd, 0, SEEK_END) < 0) return errno_error(errno, "cannot mark the lock file");
  return os::write_all(fd, "\nreceived\n").note("marking the lock file");
}

bool has_input(int fd) {
  pollfd polled{fd, POLLIN, 0};
  return ::poll(&polled, 1, 0) != 0;
}

void detach_from_starter() {
  os::close_on_exec_from(3);
  for (int number = 1; number < NSIG; ++number) {
    if (number != SIGKILL && number != SIGSTOP) (void)::signal(number, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
  os::become_subreaper();
  (void)::setsid();  // fails if we lead a session already, which is as good
}

Result<os::Fd> open_empty_input() {
  Result<os::Fd> null = os::open_file("/dev/null", O_RDONLY);
  if (null.ok()) return null;
  os::Pipe pipe = CIRRUS_TRY(os::make_pipe());
  return std::move(pipe.read_end);
}

void release_standard_input() {
  const Result<os::Fd> empty = open_empty_input();
  if (empty.ok()) (void)::dup2(empty.value().get(), 0);
}

}  // namespace cirrus::agent
