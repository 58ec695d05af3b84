// SPDX-License-Identifier: MIT
// Facts about this machine and the places programs keep things.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cirrus::os {

/// As the kernel reports it; empty if unknown.
std::string host_name();
/// GOOS spelling: linux, darwin, freebsd. Source: reference CLI, worker labels.
std::string os_name();
/// GOARCH spelling: amd64, arm64, 386, arm, riscv64, ppc64le, s390x.
std::string arch_name();

/// /var/lib/cirrus for root, else $XDG_STATE_HOME/cirrus or ~/.local/state/cirrus.
std::filesystem::path default_state_directory();
/// $XDG_CONFIG_HOME/cirrus or ~/.config/cirrus.
std::filesystem::path user_config_directory();
/// A short directory for sockets: /run/cirrus for root, $XDG_RUNTIME_DIR/cirrus, else
/// /tmp/cirrus-<uid>. A socket path must stay below 108 bytes.
std::filesystem::path default_runtime_directory();

/// Where `program` is found in a list of directories as in PATH; empty if nowhere.
std::string find_program(std::string_view program, std::string_view path_variable);
/// In this process' own PATH.
std::string find_program(std::string_view program);

/// The path of the running executable.
Result<std::filesystem::path> executable_path();

}  // namespace cirrus::os
