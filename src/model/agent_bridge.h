// SPDX-License-Identifier: MIT
// What an agent's bridge in a guest and the worker that started it say to each other.
#pragma once

namespace cirrus::model {

/// What a bridge says when it is ready, after whatever a login shell printed before it.
inline constexpr char kBridgeReady[] = "cirrus-bridge-ready\n";

/// How a bridge ends, as its exit status.
enum class BridgeEnd {
  Detached = 0,   ///< the stream or the connection is gone: attach again
  Failed = 1,     ///< an error, said on its error output
  AgentGone = 3,  ///< there is no agent any more
};

}  // namespace cirrus::model
