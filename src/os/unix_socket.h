// SPDX-License-Identifier: MIT
// Listening and connecting on unix sockets.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "os/fd.h"

namespace cirrus::os {

/// The longest path a unix socket binds to, in bytes.
inline constexpr std::size_t kMaxSocketPath = 107;

/// A listening stream socket at `path`, of `mode`; an old socket of that name is removed first.
/// Errors: InvalidArgument if the path is too long.
Result<Fd> listen_unix(const std::filesystem::path& path, unsigned mode);
/// Errors: NotFound or Unavailable if nobody listens.
Result<Fd> connect_unix(const std::filesystem::path& path);
/// The next connection. Errors: Unavailable if the socket does not block and none waits.
Result<Fd> accept_connection(int listener);

}  // namespace cirrus::os
