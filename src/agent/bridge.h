// SPDX-License-Identifier: MIT
// The bridge of an agent that its worker reaches by one byte stream only: a channel of SSH.
//
//   worker == stdin/stdout == bridge -- unix socket -- agent
//
// The bridge listens where the agent expects its gateway, takes one connection and passes bytes.
// It ends with the stream or with the connection; the agent lives on and looks for the next one.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "model/agent_bridge.h"

namespace cirrus::agent {

using model::BridgeEnd;

/// The files of an agent with a bridge, in a private directory.
struct BridgeFiles {
  std::filesystem::path directory;
  std::filesystem::path socket() const { return directory / "gateway.sock"; }
  std::filesystem::path lock() const { return directory / "agent.lock"; }  ///< held while it lives
  std::filesystem::path log() const { return directory / "agent.log"; }
  std::filesystem::path scratch() const { return directory / "scratch"; }
};

/// Reads a framed bootstrap from standard input, starts `program` with it in a session of its own,
/// and bridges. At the end of the input before a bootstrap it just ends. Errors: those of the
/// directory, which must be ours or not exist.
Result<BridgeEnd> bridge_start(const std::string& program, const std::filesystem::path& directory);

/// Bridges to an agent that was started before. The newest bridge wins.
Result<BridgeEnd> bridge_attach(const std::filesystem::path& directory);

/// Whether an agent lives that was started in this directory.
bool bridge_alive(const std::filesystem::path& directory);

/// Sends the agent `signal`. Errors: NotFound if there is none.
Status bridge_signal(const std::filesystem::path& directory, int signal);

}  // namespace cirrus::agent
