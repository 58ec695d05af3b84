// SPDX-License-Identifier: MIT
// Users of this machine, and how a file or a directory becomes theirs.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cirrus::os {

struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  /// All groups of the user, the primary one included.
  std::vector<gid_t> groups;
  std::string home;
  std::string shell;

  /// `1000:1000:1000,27`: what `os::become` reads.
  std::string identity() const;
  friend bool operator==(const User&, const User&) = default;
};

/// By name or by number. Errors: NotFound, naming it.
Result<User> find_user(std::string_view name);
/// The user this process runs as (effective).
Result<User> current_user();

/// Gives `path` itself, never what a link points to, to the user. Errors: as chown(2).
Status give_to(const std::filesystem::path& path, const User& user);

}  // namespace cirrus::os
