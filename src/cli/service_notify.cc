// SPDX-License-Identifier: MIT
#include "cli/service_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "os/fd.h"

namespace cirrus::cli {

namespace {

// Half the period at which the manager loses patience; 10 s for the status line alone.
std::chrono::microseconds period() {
  constexpr std::chrono::microseconds kStatusOnly = std::chrono::seconds(10);
  const char* text = std::getenv("WATCHDOG_USEC");
  const char* owner = std::getenv("WATCHDOG_PID");
  if (text == nullptr) return kStatusOnly;
  if (owner != nullptr && std::to_string(::getpid()) != owner) return kStatusOnly;
  std::int64_t number = 0;
  const auto parsed = std::from_chars(text, text + std::strlen(text), number);
  if (parsed.ec != std::errc() || number < 2) return kStatusOnly;
  return std::min(kStatusOnly, std::chrono::microseconds(number / 2));
}

}  // namespace

void notify_service_manager(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == '\0') return;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if (length >= sizeof(address.sun_path)) return;
  std::memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';  // the abstract namespace
  const os::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return;
  (void)::sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&address),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
}

ServiceNotifier::ServiceNotifier(std::function<std::string()> status) : status_(std::move(status)) {
  if (std::getenv("NOTIFY_SOCKET") == nullptr) return;
  notify_service_manager("READY=1\nSTATUS=" + status_());
  thread_ = Thread([this](const StopToken& stop) {
    const std::chrono::microseconds pause = period();
    while (wait_for(stop, pause)) notify_service_manager("WATCHDOG=1\nSTATUS=" + status_());
  });
}

ServiceNotifier::~ServiceNotifier() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  notify_service_manager("STOPPING=1");
}

}  // namespace cirrus::cli
