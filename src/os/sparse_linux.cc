// SPDX-License-Identifier: MIT
// Linux only. A Darwin twin uses fcntl(F_PUNCHHOLE) with the block-aligned inner range.
#include <fcntl.h>

#include "os/sparse.h"

namespace cirrus::os {

void punch_hole(int fd, std::uint64_t offset, std::uint64_t length) {
  (void)::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                    static_cast<off_t>(length));
}

}  // namespace cirrus::os
