// SPDX-License-Identifier: MIT
#include "os/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cirrus::os {

namespace {
Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  const std::string text = path.string();
  if (text.size() > kMaxSocketPath) {
    return error(Code::InvalidArgument, "socket path '{}' is longer than {} bytes", text,
                 kMaxSocketPath);
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, text.data(), text.size());
  return address;
}
}  // namespace

Result<Fd> listen_unix(const std::filesystem::path& path, unsigned mode) {
  const sockaddr_un address = CIRRUS_TRY(address_of(path));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno_error(errno, "cannot make a socket");
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) ::unlink(path.c_str());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno_error(errno, "cannot listen on '{}'", path.string());
  }
  if (::chmod(path.c_str(), mode) != 0 || ::listen(fd.get(), 128) != 0) {
    return errno_error(errno, "cannot listen on '{}'", path.string());
  }
  return fd;
}

Result<Fd> connect_unix(const std::filesystem::path& path) {
  const sockaddr_un address = CIRRUS_TRY(address_of(path));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno_error(errno, "cannot make a socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno_error(errno, "cannot connect to '{}'", path.string());
  }
  return fd;
}

Result<Fd> accept_connection(int listener) {
  for (;;) {
    const int number = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (number >= 0) return Fd(number);
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return error(Code::Unavailable, "no connection waits");
    }
    return errno_error(errno, "cannot accept a connection");
  }
}

}  // namespace cirrus::os
