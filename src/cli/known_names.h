// SPDX-License-Identifier: MIT
// The names that completion offers.
#pragma once

#include <string>
#include <vector>

namespace cirrus::cli {

/// Names of a kind of `completion.h`, from the controller, the saved contexts or the directory's
/// `.cirrus.yml`; nothing when they cannot be had: a shell must neither wait (1.5 s at most) nor
/// complain while somebody types. Names that would not stay on their line are left out.
std::vector<std::string> known_names(const std::string& kind,
                                     const std::vector<std::string>& given);

}  // namespace cirrus::cli
