// SPDX-License-Identifier: MIT
// cirrus-agent for this platform, carried inside `cirrus`.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace cirrus {

/// The agent's executable, zstd-compressed. Lives as long as the program.
std::string_view embedded_agent_zstd();
/// Of the executable, not of the compressed bytes; 64 hex digits.
std::string_view embedded_agent_sha256();

/// The path of the agent in `dir`, unpacked there if it is not yet: `cirrus-agent-<16 digits of
/// the hash>`, mode 0755. Safe to call from several processes at once. About 50 ms the first time,
/// one system call later. Errors: those of writing a file; Internal if the bytes are damaged.
Result<std::filesystem::path> unpack_embedded_agent(const std::filesystem::path& dir);

}  // namespace cirrus
