// SPDX-License-Identifier: MIT
#include "os/waker.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

namespace cirrus::os {

Result<Waker> Waker::create() {
  Pipe pipe = CIRRUS_TRY(make_pipe());
  CIRRUS_TRY(set_nonblocking(pipe.read_end.get(), true));
  CIRRUS_TRY(set_nonblocking(pipe.write_end.get(), true));
  return Waker(std::move(pipe));
}

void Waker::wake() const {
  const char byte = 0;
  // A full pipe is as awake as it gets.
  [[maybe_unused]] const ssize_t ignored = ::write(pipe_.write_end.get(), &byte, 1);
}

void Waker::clear() const {
  char buffer[64];
  while (::read(pipe_.read_end.get(), buffer, sizeof buffer) > 0) {
  }
}

Result<bool> wait_readable(int fd, const StopToken& stop,
                           std::optional<std::chrono::steady_clock::time_point> deadline) {
  std::optional<Waker> waker;
  if (stop.stop_possible()) waker = CIRRUS_TRY(Waker::create());
  const StopCallback on_stop(stop, [&] { waker->wake(); });
  for (;;) {
    if (stop.stop_requested()) return false;
    int timeout = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(
          *deadline - std::chrono::steady_clock::now());
      if (left.count() < 0) return false;
      timeout = static_cast<int>(std::min<std::int64_t>(left.count(), INT_MAX));
    }
    pollfd polled[2] = {{fd, POLLIN, 0}, {waker ? waker->fd() : -1, POLLIN, 0}};
    const int ready = ::poll(polled, 2, timeout);
    if (ready < 0 && errno != EINTR) return errno_error(errno, "cannot poll");
    if (ready > 0 && polled[0].revents != 0) return true;
    if (ready == 0 && deadline) return false;
  }
}

}  // namespace cirrus::os
