// SPDX-License-Identifier: MIT
// One entry of a tar archive, for the few small things this folder sends to an engine.
#pragma once

#include <string>
#include <string_view>

namespace cirrus::isolation {

/// A directory with these permission bits; `name` is at most 99 bytes.
std::string tar_directory(std::string_view name, unsigned mode);
/// A file with its content, readable by all; `name` is at most 100 bytes.
std::string tar_file(std::string_view name, std::string_view content);
/// What follows the last entry.
std::string tar_end();

}  // namespace cirrus::isolation
