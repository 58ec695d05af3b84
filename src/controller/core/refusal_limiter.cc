// SPDX-License-Identifier: MIT
#include "controller/core/refusal_limiter.h"

namespace cirrus::controller::core {

RefusalLimiter::Verdict RefusalLimiter::refused(const std::string& source, Monotonic now) {
  auto found = windows_.find(source);
  if (found == windows_.end() && windows_.size() >= limits_.sources) {
    std::erase_if(windows_,
                  [&](const auto& entry) { return now - entry.second.begun >= limits_.window; });
    // Thousands of sources at once: counting starts over rather than growing.
    if (windows_.size() >= limits_.sources) windows_.clear();
    found = windows_.end();
  }
  if (found == windows_.end()) found = windows_.emplace(source, Window{now, 0}).first;
  Window& window = found->second;
  if (now - window.begun >= limits_.window) window = Window{now, 0};
  ++window.count;
  Verdict verdict;
  verdict.limited = window.count > limits_.free;
  verdict.first = window.count == limits_.free + 1;
  verdict.again =
      std::chrono::duration_cast<std::chrono::seconds>(window.begun + limits_.window - now) +
      std::chrono::seconds(1);
  return verdict;
}

}  // namespace cirrus::controller::core
