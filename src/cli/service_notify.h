// SPDX-License-Identifier: MIT
// Telling the service manager how we are (sd_notify): a datagram to $NOTIFY_SOCKET. Without that
// variable nothing happens, so this also runs where there is no systemd.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/stop.h"

namespace cirrus::cli {

/// Sends one state, such as `READY=1` or `STATUS=3 tasks`. Failures are ignored.
void notify_service_manager(std::string_view state);

/// Sends READY=1, then STATUS= and, where the manager asks for it (WATCHDOG_USEC), WATCHDOG=1 at
/// half its period until destroyed; then STOPPING=1. No thread runs without a manager.
class ServiceNotifier {
 public:
  explicit ServiceNotifier(std::function<std::string()> status);
  ~ServiceNotifier();
  ServiceNotifier(const ServiceNotifier&) = delete;
  ServiceNotifier& operator=(const ServiceNotifier&) = delete;

 private:
  std::function<std::string()> status_;
  Thread thread_;  // last: uses the member above
};

}  // namespace cirrus::cli
