// SPDX-License-Identifier: MIT
// Stop tokens and interruptible waiting. The one place to swap on systems without <stop_token>.
#pragma once

#include <chrono>
#include <stop_token>
#include <thread>

namespace cirrus {

using StopToken = std::stop_token;
using StopSource = std::stop_source;
/// A class rather than an alias: clang 14 does not deduce arguments through an alias.
template <typename Callback>
class StopCallback : public std::stop_callback<Callback> {
 public:
  using std::stop_callback<Callback>::stop_callback;
};
template <typename Callback>
StopCallback(StopToken, Callback) -> StopCallback<Callback>;
using Thread = std::jthread;

/// Waits for `duration` or until stop is requested. True if the whole time passed. This is the
/// only way to let time pass: it can always be interrupted.
bool wait_for(const StopToken& stop, std::chrono::nanoseconds duration);

}  // namespace cirrus
