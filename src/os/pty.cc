// SPDX-License-Identifier: MIT
#include "os/pty.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace cirrus::os {

Result<Pty> Pty::open(std::uint32_t columns, std::uint32_t rows) {
  Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master.valid()) return errno_error(errno, "making a terminal");
  char name[128];
  if (::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0 ||
      ::ptsname_r(master.get(), name, sizeof name) != 0) {
    return errno_error(errno, "making a terminal");
  }
  Pty pty(std::move(master), name);
  pty.resize(columns, rows);
  return pty;
}

void Pty::resize(std::uint32_t columns, std::uint32_t rows) const {
  constexpr std::uint32_t kMost = 10'000;
  winsize size{};
  size.ws_col = static_cast<unsigned short>(std::clamp(columns, 1U, kMost));
  size.ws_row = static_cast<unsigned short>(std::clamp(rows, 1U, kMost));
  (void)::ioctl(master_.get(), TIOCSWINSZ, &size);
}

}  // namespace cirrus::os
