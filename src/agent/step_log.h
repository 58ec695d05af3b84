// SPDX-License-Identifier: MIT
// StepLog: one step's log on its way to the outbox.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "agent/outbox.h"
#include "agent/time_stamps.h"
#include "model/masker.h"

namespace cirrus::agent {

/// Bytes in, masked and (if asked for) stamped bytes out, in the order they were written.
/// Thread-safe: the log pump writes what the script prints, the main thread its own lines.
///
///   write -> Masker -> TimeStamps -> Outbox (offsets are counted here)
class StepLog {
 public:
  /// `outbox` must outlive the log. `stamps`: null for none.
  StepLog(std::string step, Outbox& outbox, std::shared_ptr<const model::PatternSet> patterns,
          std::unique_ptr<TimeStamps> stamps);

  const std::string& step() const { return step_; }
  /// Whether there is room is not looked at: that is the pump's duty for bytes of others.
  void write(std::string_view bytes);
  /// Shows every byte to `observer` as it is written, before masks and stamps; null: no more.
  void observe(std::function<void(std::string_view bytes)> observer);
  /// Hands out what is held back. Later writes start afresh.
  void flush();
  void replace_patterns(std::shared_ptr<const model::PatternSet> patterns);
  /// Where the next byte goes: what an event that follows this log says.
  gateway::v1::LogPosition position() const;

 private:
  void pass_on_locked();

  const std::string step_;
  Outbox& outbox_;
  mutable std::mutex mutex_;
  model::Masker masker_;                            // guarded by mutex_
  std::unique_ptr<TimeStamps> stamps_;              // guarded by mutex_
  std::function<void(std::string_view)> observer_;  // guarded by mutex_
  std::string masked_;                              // guarded by mutex_: kept for its capacity
};

}  // namespace cirrus::agent
