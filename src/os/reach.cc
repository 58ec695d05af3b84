// SPDX-License-Identifier: MIT
#include "os/reach.h"

#include <sys/stat.h>

#include <algorithm>

namespace cirrus::os {

namespace {

// `wanted`: bits of one class, such as 1 for entering and 3 for making files.
bool allows(const std::filesystem::path& directory, const User& user, unsigned wanted) {
  struct stat facts = {};
  if (::stat(directory.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode)) return false;
  if (user.uid == 0) return true;
  unsigned bits = facts.st_mode & 7U;
  if (facts.st_uid == user.uid) {
    bits = (facts.st_mode >> 6U) & 7U;
  } else if (std::find(user.groups.begin(), user.groups.end(), facts.st_gid) != user.groups.end()) {
    bits = (facts.st_mode >> 3U) & 7U;
  }
  return (bits & wanted) == wanted;
}

bool reaches(const std::filesystem::path& directory, const User& user, unsigned wanted) {
  std::error_code failure;
  const std::filesystem::path real = std::filesystem::canonical(directory, failure);
  if (failure || !allows(real, user, wanted)) return false;
  for (std::filesystem::path above = real; above != above.root_path();) {
    above = above.parent_path();
    if (!allows(above, user, 1)) return false;
  }
  return true;
}

}  // namespace

bool may_write_in(const std::filesystem::path& directory, const User& user) {
  return reaches(directory, user, 3);
}

bool may_enter(const std::filesystem::path& directory, const User& user) {
  return reaches(directory, user, 1);
}

}  // namespace cirrus::os
