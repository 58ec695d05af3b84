// SPDX-License-Identifier: MIT
// Linux half: renameat2. A Darwin twin calls renameatx_np with RENAME_EXCL.
#include <stdio.h>

#include "os/rename.h"

namespace cirrus::os {

bool rename_to_free_name(const Fd& parent, const std::string& from, const std::string& to) {
  return ::renameat2(parent.get(), from.c_str(), parent.get(), to.c_str(), RENAME_NOREPLACE) == 0;
}

}  // namespace cirrus::os
