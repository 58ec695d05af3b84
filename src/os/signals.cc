// SPDX-License-Identifier: MIT
#include "os/signals.h"

#include <pthread.h>
#include <signal.h>

#include <ctime>

namespace cirrus::os {

namespace {
sigset_t set_of(const std::vector<int>& signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : signals) sigaddset(&set, number);
  return set;
}
}  // namespace

void block_signals(std::initializer_list<int> signals) {
  const sigset_t set = set_of(signals);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

SignalThread::SignalThread(std::initializer_list<int> signals, std::function<void(int)> handler)
    : signals_(signals),
      handler_(std::move(handler)),
      thread_([this](const StopToken& stop) { run(stop); }) {}

SignalThread::~SignalThread() {
  thread_.request_stop();
  // Wakes sigwaitinfo; any of the signals will do, because stop is looked at first.
  ::pthread_kill(thread_.native_handle(), signals_.front());
  thread_.join();
}

void SignalThread::run(const StopToken& stop) {
  const sigset_t set = set_of(signals_);
  while (!stop.stop_requested()) {
    const int number = ::sigwaitinfo(&set, nullptr);
    if (stop.stop_requested()) return;
    if (number > 0) handler_(number);
  }
}

}  // namespace cirrus::os
