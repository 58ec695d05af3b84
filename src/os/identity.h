// SPDX-License-Identifier: MIT
// Becoming another user. Apart from os/user.h, which needs the name service that a static program
// cannot have.
#pragma once

#include <string_view>

#include "base/result.h"

namespace cirrus::os {

/// Turns this process into that user for good: groups, gid, uid, in this order, checked after.
/// `identity` is `uid:gid:group[,group…]`, as `User::identity` writes it.
/// Errors: InvalidArgument for a malformed text; PermissionDenied if the kernel refuses.
Status become(std::string_view identity);

}  // namespace cirrus::os
