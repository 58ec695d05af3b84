// SPDX-License-Identifier: MIT
// Named places at which a test may kill the process or make an operation fail.
#pragma once

#include <atomic>

#include "base/result.h"

namespace cirrus {

/// Decides what happens at a point. Set by nothing that users install: only `cirrus-test` (see
/// `base/testing/armed_fail_points.h`) and unit tests do.
using FailPointHook = Status (*)(const char* name);

namespace detail {
extern std::atomic<FailPointHook> fail_point_hook;
Status reach_fail_point(FailPointHook hook, const char* name);
void reach_crash_point(FailPointHook hook, const char* name);
}  // namespace detail

/// Success, unless a test armed this point with `error`; does not return if it was armed with
/// `kill`. One relaxed load when no test runs. Names are `area.what.when`: `store.commit.before`.
/// Use: `CIRRUS_TRY(fail_point("store.commit.before"));`
inline Status fail_point(const char* name) {
  const FailPointHook hook = detail::fail_point_hook.load(std::memory_order_relaxed);
  return hook == nullptr ? Status() : detail::reach_fail_point(hook, name);
}

/// The same for places that cannot fail, only be the last ones: arming one with `error` aborts.
inline void crash_point(const char* name) {
  const FailPointHook hook = detail::fail_point_hook.load(std::memory_order_relaxed);
  if (hook != nullptr) detail::reach_crash_point(hook, name);
}

/// Replaces the hook; nullptr takes it away. Set before threads start that reach points.
void set_fail_point_hook(FailPointHook hook);

}  // namespace cirrus
