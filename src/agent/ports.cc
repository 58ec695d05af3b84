// SPDX-License-Identifier: MIT
#include "agent/ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>

#include "base/strings.h"
#include "os/fd.h"

namespace cirrus::agent {

namespace {

constexpr auto kPause = std::chrono::milliseconds(50);

// On the loopback a connection is made or refused at once.
bool accepts(int family, std::uint16_t port) {
  const os::Fd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return false;
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  v6.sin6_addr = in6addr_loopback;
  const bool is_v4 = family == AF_INET;
  const auto* address =
      is_v4 ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
  return ::connect(socket.get(), address, is_v4 ? sizeof v4 : sizeof v6) == 0;
}

}  // namespace

std::vector<std::uint16_t> parse_ports(std::string_view list) {
  std::vector<std::uint16_t> ports;
  for (const std::string& part : split(list, ',')) {
    const std::string_view text = trim(part);
    std::uint16_t port = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (failure == std::errc() && end == text.data() + text.size() && port > 0) {
      ports.push_back(port);
    }
  }
  return ports;
}

std::vector<std::uint16_t> wait_for_ports(std::vector<std::uint16_t> ports, Duration patience,
                                          const TaskControl& control) {
  const Monotonic deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    std::erase_if(ports, [](std::uint16_t port) {
      return accepts(AF_INET, port) || accepts(AF_INET6, port);
    });
    if (ports.empty() || !control.pause(kPause, deadline)) return ports;
  }
}

}  // namespace cirrus::agent
