// SPDX-License-Identifier: MIT
// Two byte channels made one, with time for last words.
#pragma once

#include <chrono>

#include "base/stop.h"
#include "rpc/byte_channel.h"

namespace cirrus::rpc {

/// As in shell_hub.h, but when `one`, which has the shell, ends in order, `other` first has
/// `farewell` to end by itself: a call that is cancelled may drop what it has taken.
void join_channels(ByteChannel& one, ByteChannel& other, const StopToken& stop,
                   std::chrono::milliseconds farewell);

}  // namespace cirrus::rpc
