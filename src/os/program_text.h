// SPDX-License-Identifier: MIT
// The memory that code takes which has run.
#pragma once

#include <cstddef>

namespace cirrus::os {

/// Lets go of the pages of this program's code and of its libraries': start-up runs much that an
/// idle program never runs again. What is needed comes back from the files, page by page and
/// without a word. Data stays. Returns the bytes of the mappings that were let go of, 0 if the
/// kernel does not say where they are.
std::size_t give_back_program_text();

}  // namespace cirrus::os
