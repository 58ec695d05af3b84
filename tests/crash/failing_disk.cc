// SPDX-License-Identifier: MIT
// Preloaded into a process (LD_PRELOAD), it makes a disk fail and work again: while the file that
// FAILING_DISK_SWITCH names exists, writing or syncing a file below FAILING_DISK_ROOT fails with
// EIO, also through descriptors that were open before. Reading goes on, as from a cache.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

bool fails(int fd) {
  const char* const toggle = std::getenv("FAILING_DISK_SWITCH");
  const char* const root = std::getenv("FAILING_DISK_ROOT");
  if (toggle == nullptr || root == nullptr || ::access(toggle, F_OK) != 0) return false;
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  std::array<char, 4096> place{};
  const ssize_t length = ::readlink(link.c_str(), place.data(), place.size());
  return length > 0 &&
         std::string_view(place.data(), static_cast<std::size_t>(length)).starts_with(root);
}

/// What the C library has under this name.
template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

/// The answer of the disk, or EIO.
template <typename Call>
auto answer(int fd, const Call& call) -> decltype(call()) {
  const int before = errno;
  if (fails(fd)) {
    errno = EIO;
    return -1;
  }
  errno = before;
  return call();
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  static auto* const next = real<ssize_t(int, const void*, size_t)>("write");
  return answer(fd, [&] { return next(fd, bytes, size); });
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  static auto* const next = real<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return answer(fd, [&] { return next(fd, bytes, size, offset); });
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  static auto* const next = real<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  return answer(fd, [&] { return next(fd, bytes, size, offset); });
}

int fsync(int fd) {
  static auto* const next = real<int(int)>("fsync");
  return answer(fd, [&] { return next(fd); });
}

int fdatasync(int fd) {
  static auto* const next = real<int(int)>("fdatasync");
  return answer(fd, [&] { return next(fd); });
}

}  // extern "C"
