// SPDX-License-Identifier: MIT
// A task gateway in memory, for tests of the agent without gRPC.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "rpc/gateway_link.h"

namespace cirrus::rpc::testing {

/// Stores logs by offset and events by sequence, as the real one does, and acknowledges at once.
/// Checks the protocol while it listens: `violations` must stay empty. Thread-safe.
class FakeGateway final : public GatewayLink {
 public:
  using AgentMessage = gateway::v1::AgentMessage;
  using GatewayMessage = gateway::v1::GatewayMessage;

  struct Script {
    std::string agent_secret = "agent half";
    std::string gateway_secret = "gateway half";
    /// Streams break after this many messages from the agent; nullopt: never.
    std::optional<int> break_after;
    /// As many streams break that way; the ones after them hold.
    int breaks = 0;
    /// connect() fails this many times first.
    int refusals = 0;
    /// Keeps acknowledgements back until release().
    bool hold_acknowledgements = false;
  };
  FakeGateway() : FakeGateway(Script{}) {}
  explicit FakeGateway(Script script) : script_(std::move(script)) {}
  ~FakeGateway() override;

  Result<std::unique_ptr<GatewayStream>> connect() override;

  /// What is stored of a step's log.
  std::string log(const std::string& step) const;
  std::vector<AgentMessage::Event> events() const;
  /// The last status reported for each step, in order of first report, as `name=STATUS`.
  std::vector<std::string> statuses() const;
  bool finished() const;
  std::vector<std::string> violations() const;
  int streams() const;
  /// Sends a stop order on the present stream; one that attaches later gets it too.
  void cancel(const std::string& reason);
  /// Acknowledges what was held back, and everything from here on.
  void release();
  /// Waits until `step` has logged `text`. False after ten seconds.
  bool wait_for_log(const std::string& step, const std::string& text);
  /// Waits until the finished event is stored. False after ten seconds.
  bool wait_until_finished();

 private:
  class Stream;
  bool accept(Stream& stream, const AgentMessage& message);
  void store_log_locked(Stream& stream, const AgentMessage::Log& log);
  void store_event_locked(Stream& stream, const AgentMessage::Event& event);
  void answer_locked(Stream& stream, GatewayMessage message);

  Script script_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> logs_;
  std::vector<AgentMessage::Event> events_;
  std::vector<std::string> violations_;
  std::optional<std::string> cancel_;
  int streams_ = 0;
};

}  // namespace cirrus::rpc::testing
