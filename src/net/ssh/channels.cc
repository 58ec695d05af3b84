// SPDX-License-Identifier: MIT
#include "net/ssh/channels.h"

#include <array>
#include <chrono>

namespace cirrus::net {

Error broken(ssh_session session) {
  return error(Code::Unavailable, "the connection broke: {}", ssh_get_error(session));
}

Result<Channel> open_command(ssh_session session, const std::string& command) {
  Channel channel(ssh_channel_new(session));
  if (!channel || ssh_channel_open_session(channel.get()) != SSH_OK ||
      ssh_channel_request_exec(channel.get(), command.c_str()) != SSH_OK) {
    return broken(session);
  }
  return channel;
}

bool drain(ssh_channel channel, int is_error, std::string& into) {
  std::array<char, 16 * 1024> buffer{};
  for (;;) {
    const int got = ssh_channel_read_nonblocking(channel, buffer.data(), buffer.size(), is_error);
    if (got == SSH_ERROR) return false;
    if (got <= 0) return true;
    into.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

std::optional<int> exit_code_of(ssh_channel channel) {
  const auto begun = std::chrono::steady_clock::now();
  while (ssh_channel_is_closed(channel) == 0 &&
         std::chrono::steady_clock::now() - begun < std::chrono::seconds(2)) {
    (void)ssh_channel_poll_timeout(channel, 20, 0);
    if (ssh_channel_get_exit_status(channel) >= 0) break;
  }
  const int code = ssh_channel_get_exit_status(channel);
  return code < 0 ? std::optional<int>() : std::optional<int>(code);
}

}  // namespace cirrus::net
