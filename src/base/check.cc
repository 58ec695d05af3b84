// SPDX-License-Identifier: MIT
#include "base/check.h"

#include <execinfo.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace cirrus::detail {

void check_failed(const char* file, int line, const char* condition, const char* why) {
  std::fprintf(stderr, "%s:%d: check failed: %s (%s)\n", file, line, condition, why);
  std::array<void*, 64> frames{};
  const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  ::backtrace_symbols_fd(frames.data(), count, 2);
  std::abort();
}

}  // namespace cirrus::detail
