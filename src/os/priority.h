// SPDX-License-Identifier: MIT
// Who gives way when a machine has too little time or memory.
#pragma once

#include <sys/types.h>

namespace cirrus::os {

/// A child of ours, and all it will start, gets less of a busy processor than we do and is ended
/// before us when memory runs out. What the system refuses is left as it is.
/// Ours: 5 nice levels; 300 of the 1000 points by which the kernel chooses whom to end.
void let_others_first(pid_t child);

}  // namespace cirrus::os
