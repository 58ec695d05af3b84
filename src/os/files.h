// SPDX-License-Identifier: MIT
// Whole files and trees.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cirrus::os {

/// The whole content. Errors: NotFound; ResourceExhausted if it is larger than `limit` bytes.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit = 64U << 20U);

/// Writes to a temporary name in the same directory and renames it into place, so that a reader
/// sees the old or the new content. `durable` also syncs file and directory to the disk.
Status write_file(const std::filesystem::path& path, std::string_view content, unsigned mode = 0600,
                  bool durable = false);
/// Waits until the disk has the directory's entries.
Status sync_directory(const std::filesystem::path& path);
/// Has the system begin to write the file's bytes to the disk, where it can; does not wait.
void begin_sync(int fd);

/// Makes a directory and its parents. Only a directory it creates gets `mode`.
Status make_directories(const std::filesystem::path& path, unsigned mode = 0700);

/// Removes a tree, never following a symbolic link, also where directories are not writable.
/// A path that does not exist is success.
Status remove_tree(const std::filesystem::path& path);

/// Whether what holds `path` is mounted read-only there, also if open files can still be written.
Result<bool> is_read_only(const std::filesystem::path& path);

/// Free bytes an unprivileged user may still write on the file system that holds `path`.
Result<std::uint64_t> free_space(const std::filesystem::path& path);

}  // namespace cirrus::os
