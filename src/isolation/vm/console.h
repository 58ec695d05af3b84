// SPDX-License-Identifier: MIT
// Console: what a guest prints on its console, in the worker's log.
#pragma once

#include <filesystem>
#include <string>

#include "base/stop.h"

namespace cirrus::isolation {

/// Follows the file into which a VM's tool writes, on a thread of its own, until it is destroyed:
/// each line becomes a record of the worker's log, at most 1000 bytes of it. Source: reference
/// worker, `standard_output_to_logs`.
class Console {
 public:
  /// `from_now`: leaves out what is there already.
  Console(std::filesystem::path file, std::string vm, bool from_now);

 private:
  void run(const StopToken& stop);

  const std::filesystem::path file_;
  const std::string vm_;
  const bool from_now_;
  Thread thread_;  // last: uses everything above
};

}  // namespace cirrus::isolation
