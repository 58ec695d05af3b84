// SPDX-License-Identifier: MIT
// Sockets on this machine's IPv4 loopback, and whose they are.
#pragma once

#include <sys/types.h>

#include "base/result.h"
#include "os/fd.h"

namespace cirrus::os {

/// A listening socket on 127.0.0.1; port 0 picks a free one. Errors: AlreadyExists if the port is
/// taken.
Result<Fd> listen_loopback(int port);

/// The port a socket is bound to; 0 if it is not bound.
int local_port(int socket);
/// The port at the other end; 0 if it is not connected.
int peer_port(int socket);

/// Who opened the client's end of a loopback connection, as the kernel's socket table says.
/// Errors: NotFound if there is no such connection (any more).
Result<uid_t> loopback_owner(int client_port, int server_port);

}  // namespace cirrus::os
