// SPDX-License-Identifier: MIT
// Channels of libssh with an owner. For this folder's own files.
#pragma once

#include <libssh/libssh.h>

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"

namespace cirrus::net {

// Source: design, experience with libssh: larger writes leave truncated files.
inline constexpr std::size_t kLargestWrite = 32 * 1024;
inline constexpr int kLookMilliseconds = 100;
/// The same for a stream, whose bytes the descriptor announces as a rule.
inline constexpr int kLookAgainMilliseconds = 1000;

struct FreeChannel {
  void operator()(ssh_channel channel) const { ssh_channel_free(channel); }
};
using Channel = std::unique_ptr<ssh_channel_struct, FreeChannel>;

Error broken(ssh_session session);
Result<Channel> open_command(ssh_session session, const std::string& command);
/// What one of the command's outputs has now; false at the end of the connection.
bool drain(ssh_channel channel, int is_error, std::string& into);
/// Of a command whose output has ended: the status follows it. Absent: by a signal.
std::optional<int> exit_code_of(ssh_channel channel);

}  // namespace cirrus::net
