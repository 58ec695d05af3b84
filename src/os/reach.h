// SPDX-License-Identifier: MIT
// Whether another user could use a place.
#pragma once

#include <filesystem>

#include "os/user.h"

namespace cirrus::os {

/// True if the modes of the directory and of all above it let `user` enter it and make files there.
/// Access lists are not looked at: they may allow or forbid more.
bool may_write_in(const std::filesystem::path& directory, const User& user);

/// The same for entering it. False if there is no such directory.
bool may_enter(const std::filesystem::path& directory, const User& user);

}  // namespace cirrus::os
