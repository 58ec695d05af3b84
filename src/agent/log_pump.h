// SPDX-License-Identifier: MIT
// LogPump: the thread that reads what processes print.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <span>

#include "agent/outbox.h"
#include "agent/step_log.h"
#include "base/clock.h"
#include "base/guarded.h"
#include "base/stop.h"
#include "os/fd.h"
#include "os/waker.h"

namespace cirrus::agent {

/// Reads any number of pipes and writes what comes to their step logs. When the outbox is full it
/// stops reading, so the writers block: nothing is ever dropped. One thread of its own.
class LogPump {
 public:
  /// What the owner of a pipe may know and ask. Shared by owner and pump.
  class Source {
   public:
    /// Waits until every writer has closed the pipe, `patience` at most; while the pump waits for
    /// room in the outbox, it goes on waiting. True: closed, and everything is in the log. At
    /// `give_up` the outbox is abandoned, because nobody will make room any more.
    bool wait_closed(std::chrono::nanoseconds patience, Monotonic give_up);
    /// Takes what is in the pipe now for everything there is: whatever comes later is read (the
    /// writers must not block or die of it) and forgotten. Waits until that point is reached.
    void finish_now();

   private:
    friend class LogPump;
    struct State {
      bool closed = false;
      bool muted = false;  // read and forget
      bool mute_when_empty = false;
      bool blocked = false;  // the pump waits for room in the outbox
    };
    Source(os::Fd read_end, StepLog& log, LogPump& pump)
        : fd_(std::move(read_end)), log_(log), pump_(pump) {}
    os::Fd fd_;                          // the pump's thread only
    std::optional<std::size_t> unread_;  // the pump's thread only: what finish_now() wants
    StepLog& log_;
    LogPump& pump_;
    Guarded<State> state_;
  };

  static Result<std::unique_ptr<LogPump>> create(Outbox& outbox);
  LogPump(const LogPump&) = delete;
  LogPump& operator=(const LogPump&) = delete;

  /// Starts reading `read_end`. `log` must outlive the source's close or mute.
  std::shared_ptr<Source> add(os::Fd read_end, StepLog& log);

 private:
  LogPump(Outbox& outbox, os::Waker waker);
  void run(const StopToken& stop);
  void read_once(Source& source, std::span<char> buffer, const StopToken& stop);
  void apply_mute(Source& source);

  Outbox& outbox_;
  const os::Waker waker_;
  Guarded<std::list<std::shared_ptr<Source>>> added_;
  Thread thread_;  // last: uses everything above
};

}  // namespace cirrus::agent
