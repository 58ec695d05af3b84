// SPDX-License-Identifier: MIT
// CIRRUS_CHECK: for our own bugs only. Nothing a user, peer or disk can send may reach one.
#pragma once

namespace cirrus::detail {
/// Prints place, condition and reason with a backtrace on standard error, then aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition, const char* why);
}  // namespace cirrus::detail

#define CIRRUS_CHECK(condition, why) \
  (static_cast<bool>(condition)      \
       ? static_cast<void>(0)        \
       : ::cirrus::detail::check_failed(__FILE__, __LINE__, #condition, (why)))
