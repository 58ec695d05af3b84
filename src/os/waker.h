// SPDX-License-Identifier: MIT
// Waker: turns an event from another thread into a readable descriptor.
#pragma once

#include "base/result.h"
#include "base/stop.h"
#include "os/fd.h"

namespace cirrus::os {

/// `wake` may be called from any thread and from a signal handler. Poll `fd()` for reading.
class Waker {
 public:
  static Result<Waker> create();
  void wake() const;
  /// Makes the descriptor unreadable again.
  void clear() const;
  int fd() const { return pipe_.read_end.get(); }

 private:
  explicit Waker(Pipe pipe) : pipe_(std::move(pipe)) {}
  Pipe pipe_;
};

/// Waits until `fd` is readable (or hung up), `deadline` passes or stop is requested. True if it
/// is readable. A null deadline waits for ever: the stop ends it.
Result<bool> wait_readable(int fd, const StopToken& stop,
                           std::optional<std::chrono::steady_clock::time_point> deadline);

}  // namespace cirrus::os
