// SPDX-License-Identifier: MIT
#include "base/fail_point.h"

namespace cirrus {

namespace detail {
std::atomic<FailPointHook> fail_point_hook{nullptr};

Status reach_fail_point(FailPointHook hook, const char* name) {
  return hook(name);
}

void reach_crash_point(FailPointHook hook, const char* name) {
  CIRRUS_CHECK(hook(name).ok(), "a point that cannot fail was armed with an error");
}
}  // namespace detail

void set_fail_point_hook(FailPointHook hook) {
  detail::fail_point_hook.store(hook, std::memory_order_relaxed);
}

}  // namespace cirrus
