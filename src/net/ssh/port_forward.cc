// SPDX-License-Identifier: MIT
#include "net/ssh/port_forward.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "os/unix_socket.h"

namespace cirrus::net {
namespace {

constexpr char kLoopback[] = "127.0.0.1";

}  // namespace

Result<std::uint16_t> listen_in_guest(ssh_session session, std::uint16_t port) {
  int bound = port;
  if (ssh_channel_listen_forward(session, kLoopback, port, port == 0 ? &bound : nullptr) ==
      SSH_OK) {
    return static_cast<std::uint16_t>(bound);
  }
  if (ssh_is_connected(session) == 0) return broken(session);
  return error(Code::FailedPrecondition,
               "the guest's SSH server does not pass a port of its loopback on ({}): allow "
               "'AllowTcpForwarding remote' there",
               ssh_get_error(session));
}

Result<std::optional<int>> PortForward::run(ssh_channel watched, const StopToken& stop) {
  const StopCallback wake(stop, [this] { waker_.wake(); });
  while (!stop.stop_requested()) {
    std::string words;
    if (!drain(watched, 0, words) || !drain(watched, 1, words)) return broken(session_);
    if (ssh_channel_is_eof(watched) != 0) return exit_code_of(watched);
    const bool accepted = accept();
    if (pass_down_all() || accepted || is_more_waiting(watched)) continue;
    if (ssh_is_connected(session_) == 0) return broken(session_);
    CIRRUS_TRY(wait());
  }
  return error(Code::Cancelled, "stopped");
}

bool PortForward::accept() {
  bool accepted = false;
  for (;;) {
    int port = 0;
    Channel channel(ssh_channel_open_forward_port(session_, 0, &port, nullptr, nullptr));
    if (!channel) return accepted;
    Result<os::Fd> socket = os::connect_unix(target_);
    // Whoever came finds the door closed, as at a server that is away.
    if (!socket.ok()) continue;
    passages_.push_back({std::move(channel), std::move(socket).value(), {}});
    accepted = true;
  }
}

bool PortForward::pass_down(Passage& passage) {
  // What is not taken here stays there, and the guest's window closes.
  bool alive = true;
  bool ended = false;
  if (passage.down.empty()) {
    alive = drain(passage.channel.get(), 0, passage.down);
    ended = passage.down.empty() && ssh_channel_is_eof(passage.channel.get()) != 0;
  }
  if (!alive || ended) {
    passage.socket.reset();
    return false;
  }
  if (passage.down.empty()) return false;
  const ssize_t sent = ::send(passage.socket.get(), passage.down.data(), passage.down.size(),
                              MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent > 0) {
    passage.down.erase(0, static_cast<std::size_t>(sent));
    return true;
  }
  if (errno != EAGAIN && errno != EINTR) passage.socket.reset();
  return false;
}

bool PortForward::pass_down_all() {
  bool passed = false;
  for (Passage& passage : passages_) passed = pass_down(passage) || passed;
  std::erase_if(passages_, [](const Passage& passage) { return !passage.socket.valid(); });
  return passed;
}

// Looking at one channel may bring bytes of another, which no poll would tell of.
bool PortForward::is_more_waiting(ssh_channel watched) {
  return ssh_channel_poll(watched, 0) != 0 ||
         std::any_of(passages_.begin(), passages_.end(), [](const Passage& passage) {
           return passage.down.empty() && ssh_channel_poll(passage.channel.get(), 0) != 0;
         });
}

Status PortForward::wait() {
  std::vector<pollfd> polled{{ssh_get_fd(session_), POLLIN, 0}, {waker_.fd(), POLLIN, 0}};
  for (const Passage& passage : passages_) {
    const bool room = ssh_channel_window_size(passage.channel.get()) > 0;
    const int events = (room ? POLLIN : 0) | (passage.down.empty() ? 0 : POLLOUT);
    polled.push_back({events == 0 ? -1 : passage.socket.get(), static_cast<short>(events), 0});
  }
  // Bounded: a message in the library's own hands shows in no descriptor.
  if (::poll(polled.data(), polled.size(), kLookMilliseconds) < 0 && errno != EINTR) {
    return errno_error(errno, "cannot wait for the connection");
  }
  for (std::size_t i = 0; i < passages_.size(); ++i) {
    if ((polled[i + 2].revents & ~POLLOUT) != 0) pass_up(passages_[i]);
  }
  std::erase_if(passages_, [](const Passage& passage) { return !passage.socket.valid(); });
  return {};
}

void PortForward::pass_up(Passage& passage) {
  std::vector<char> buffer(
      std::min<std::size_t>(kLargestWrite, ssh_channel_window_size(passage.channel.get())));
  const std::size_t got = os::read_some(passage.socket.get(), buffer).value_or(0);
  std::string_view bytes(buffer.data(), got);
  while (!bytes.empty()) {
    const int sent = ssh_channel_write(passage.channel.get(), bytes.data(),
                                       static_cast<std::uint32_t>(bytes.size()));
    if (sent <= 0) break;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  if (got > 0 && bytes.empty()) return;
  ssh_channel_send_eof(passage.channel.get());
  passage.socket.reset();
}

}  // namespace cirrus::net
