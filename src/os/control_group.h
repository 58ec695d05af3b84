// SPDX-License-Identifier: MIT
// Which control group a process is in, and numbers in a group's files. Linux only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

namespace cirrus::os {

struct ControlGroup {
  std::filesystem::path path;  ///< its directory, as we see it
  bool v2 = false;
};

/// The group of `pid` in the v2 tree, or in the v1 tree of `controller`. Nothing where that tree is
/// not mounted for us.
std::optional<ControlGroup> control_group_of(pid_t pid, std::string_view controller, bool v2);

/// The number behind `key` at the start of a line; with an empty key, the file's only number.
std::optional<std::uint64_t> number_after(const std::filesystem::path& file, std::string_view key);

}  // namespace cirrus::os
