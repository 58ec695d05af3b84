// SPDX-License-Identifier: MIT
// A darwin twin lists sockets with sysctl net.inet.tcp.pcblist64, which names their owner too; the
// socket calls are the same.
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "os/loopback.h"

namespace cirrus::os {
namespace {

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

}  // namespace

Result<Fd> listen_loopback(int port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return errno_error(errno, "making a socket");
  const int on = 1;
  // Else a server's old connections keep the next one from the port for a minute.
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = loopback(port);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0) {
    if (errno == EADDRINUSE) {
      return error(Code::AlreadyExists, "port {} of 127.0.0.1 is taken", port);
    }
    return errno_error(errno, "listening on 127.0.0.1");
  }
  return socket;
}

int local_port(int socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.sin_port);
}

int peer_port(int socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.sin_port);
}

// Source: sock_diag(7): one question about one connection, however many there are.
Result<uid_t> loopback_owner(int client_port, int server_port) {
  const Fd netlink(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink.valid()) return errno_error(errno, "asking the kernel about a connection");
  struct {
    nlmsghdr head;
    inet_diag_req_v2 question;
  } request{};
  request.head.nlmsg_len = sizeof request;
  request.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.head.nlmsg_flags = NLM_F_REQUEST;
  request.question.sdiag_family = AF_INET;
  request.question.sdiag_protocol = IPPROTO_TCP;
  request.question.idiag_states = ~0U;
  request.question.id.idiag_sport = htons(static_cast<std::uint16_t>(client_port));
  request.question.id.idiag_dport = htons(static_cast<std::uint16_t>(server_port));
  request.question.id.idiag_src[0] = htonl(INADDR_LOOPBACK);
  request.question.id.idiag_dst[0] = htonl(INADDR_LOOPBACK);
  request.question.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
  request.question.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (::send(netlink.get(), &request, sizeof request, 0) < 0) {
    return errno_error(errno, "asking the kernel about a connection");
  }
  alignas(nlmsghdr) char answer[4096];
  const ssize_t got = ::recv(netlink.get(), answer, sizeof answer, 0);
  if (got < 0) return errno_error(errno, "asking the kernel about a connection");
  nlmsghdr head{};
  if (static_cast<std::size_t>(got) >= sizeof head) std::memcpy(&head, answer, sizeof head);
  inet_diag_msg found{};
  if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY ||
      static_cast<std::size_t>(got) < NLMSG_HDRLEN + sizeof found) {
    return error(Code::NotFound, "there is no connection from port {}", client_port);
  }
  std::memcpy(&found, answer + NLMSG_HDRLEN, sizeof found);
  return found.idiag_uid;
}

}  // namespace cirrus::os
