// SPDX-License-Identifier: MIT
#include "base/stop.h"

#include <condition_variable>
#include <mutex>

namespace cirrus {

bool wait_for(const StopToken& stop, std::chrono::nanoseconds duration) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, duration, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace cirrus
