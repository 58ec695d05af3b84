// SPDX-License-Identifier: MIT
// Signals as values: blocked everywhere, taken by one thread.
#pragma once

#include <functional>
#include <initializer_list>
#include <vector>

#include "base/stop.h"

namespace cirrus::os {

/// Blocks `signals` in the calling thread and every thread it starts later, and ignores SIGPIPE.
/// To be called first in main, before any thread exists.
void block_signals(std::initializer_list<int> signals);

/// A thread that takes the signals and calls `handler` with each, one at a time, until destroyed.
/// The signals must be blocked already.
class SignalThread {
 public:
  SignalThread(std::initializer_list<int> signals, std::function<void(int)> handler);
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  void run(const StopToken& stop);

  std::vector<int> signals_;
  std::function<void(int)> handler_;
  Thread thread_;  // last: uses the members above
};

}  // namespace cirrus::os
