// SPDX-License-Identifier: MIT
// Reading the bootstrap, and the state a fresh process puts itself in.
#pragma once

#include <optional>

#include "base/result.h"
#include "cirrus_gateway.pb.h"
#include "os/fd.h"

namespace cirrus::agent {

/// Reads four bytes of length, most significant first, and the message, from `fd`. nullopt: the
/// stream ended before its first byte, so this agent is not needed. Errors: InvalidArgument if
/// the message is too long (16 MiB) or broken, OutOfRange if it is cut off.
Result<std::optional<gateway::v1::Bootstrap>> read_bootstrap(int fd);

/// Says in the lock file behind `fd` that the bootstrap has been read. Errors: those of the disk.
Status mark_receipt(int fd);

/// Whether something, be it the end, can be read from `fd` now.
bool has_input(int fd);

/// Makes the process independent of who started it: no inherited descriptor passes to a script
/// (they stay open here: one may be the lock that shows we live), signals are as in a new process,
/// orphans come to us, and the session is our own.
void detach_from_starter();

/// Something that is at its end when read: /dev/null, or a pipe nobody writes to in a root file
/// system without devices. Errors: ResourceExhausted when out of descriptors.
Result<os::Fd> open_empty_input();

/// Replaces descriptor 0 by an empty input, so that nothing keeps the starter's pipe open.
void release_standard_input();

}  // namespace cirrus::agent
