// SPDX-License-Identifier: MIT
// What the agent has to tell its gateway and may not forget before it is acknowledged.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/stop.h"
#include "cirrus_gateway.pb.h"

namespace cirrus::agent {

/// Log bytes and events in the order they came about, kept until acknowledged.
///
///   append, post --> [ acknowledged | sent, kept for a resend | not yet sent ] --> next
///                                                             ^ cursor
///
/// Producers are the log pump and the main thread; the one consumer is the uplink's writer, and
/// acknowledgements come from the uplink's reader. All methods are thread-safe.
class Outbox {
 public:
  /// Ours (the wire contract): bytes of log per message, and unacknowledged per task.
  static constexpr std::size_t kMaxChunk = 256 * 1024;
  static constexpr std::size_t kDefaultLimit = 4 * 1024 * 1024;

  explicit Outbox(std::size_t limit = kDefaultLimit) : limit_(limit) {}

  /// Waits until fewer than `limit` bytes are unacknowledged. False: stop was requested first.
  bool wait_for_room(const StopToken& stop);
  /// Whether a producer that respects the limit would have to wait now.
  bool is_full() const;
  /// Adds bytes to a step's log, whether there is room or not; the caller asked before.
  void append(const std::string& step, std::string_view bytes);
  /// The number of bytes appended to a step's log so far.
  std::uint64_t offset(const std::string& step) const;

  /// The gateway has that many bytes of a step's log already, which are not the agent's. Before
  /// anything is appended to it.
  void begin_at(const std::string& step, std::uint64_t offset);

  /// Numbers the event and queues it. `after` is the caller's to fill.
  void post(gateway::v1::AgentMessage::Event event);

  /// The gateway has these; everything else will be handed out by next() again, in order.
  void resume(const gateway::v1::GatewayMessage::Welcome& welcome);
  /// Waits for something to send and fills `message`. False: stop was requested.
  bool next(const StopToken& stop, gateway::v1::AgentMessage& message);
  void acknowledge_log(const std::string& step, std::uint64_t offset);
  void acknowledge_events(std::uint64_t sequence);

  /// Nobody will come to take it: from here on everything is dropped and nobody waits.
  void abandon();
  bool abandoned() const;

  /// Waits until everything is acknowledged or the deadline passes; true if everything is.
  bool wait_until_empty(Monotonic deadline);

 private:
  struct Entry {
    bool is_event = false;
    std::string step;          // log only
    std::uint64_t offset = 0;  // log only: of the first byte of `data`
    std::string data;          // log only
    gateway::v1::AgentMessage::Event event;
    bool acknowledged(const Outbox& outbox) const;
  };
  struct StepLog {
    std::uint64_t appended = 0;
    std::uint64_t acknowledged = 0;
  };
  void acknowledge_log_locked(const std::string& step, std::uint64_t offset);
  void drop_acknowledged_locked();

  const std::size_t limit_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  // Guarded by mutex_.
  std::deque<Entry> entries_;
  std::size_t cursor_ = 0;  // index of the first entry not yet sent on the present stream
  std::map<std::string, StepLog, std::less<>> steps_;
  std::uint64_t last_sequence_ = 0;
  std::uint64_t acknowledged_sequence_ = 0;
  std::size_t unacknowledged_bytes_ = 0;
  bool abandoned_ = false;
};

}  // namespace cirrus::agent
