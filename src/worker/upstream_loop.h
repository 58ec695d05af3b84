// SPDX-License-Identifier: MIT
// UpstreamLoop: registers at one upstream and polls it, on a thread of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "worker/session.h"
#include "worker/worker_facts.h"

namespace cirrus::worker {

/// What a loop asks of its worker. Called from the loop's thread.
class PollOwner {
 public:
  virtual ~PollOwner() = default;
  /// The request to send to this upstream now.
  virtual rpc::pb::PollRequest make_poll(const Session& session) = 0;
  /// False while no task could be started here, such as on a full disk.
  virtual bool wants_tasks() = 0;
  /// In the reply's order: stops, starts, shutdown. Source: protocol, normal sequence.
  virtual void on_reply(const std::shared_ptr<Session>& session,
                        const rpc::pb::PollResponse& reply) = 0;
  /// The first registration was refused for good. Later refusals are retried for ever.
  virtual void on_refused(const Session& session, const Error& reason) = 0;
};

class UpstreamLoop {
 public:
  /// `number`: of the last poll before this loop, above those of every earlier process.
  UpstreamLoop(std::shared_ptr<Session> session, PollOwner& owner, std::uint64_t number);
  ~UpstreamLoop();

  const std::shared_ptr<Session>& session() const { return session_; }
  bool registered() const {
    return state_.with([](const State& s) { return s.facts.registered; });
  }
  UpstreamFacts facts() const {
    return state_.with([](const State& s) { return s.facts; });
  }
  /// From now on every poll says that no new task is wanted (or none is sent to a reference
  /// server); a parked poll is taken back at once.
  void drain();
  /// A parked poll is taken back and sent anew: labels or resources have changed.
  void refresh();
  /// A poll that waits its interval is sent now (a reference server learns of free resources).
  void poll_soon();
  void request_stop();
  /// Tells a server that understands it that this worker ends, so that its name is free. To be
  /// called once the loop's thread has ended; waits for the answer, 2 s at most.
  void say_goodbye();

 private:
  struct State {
    bool draining = false;
    UpstreamFacts facts;
    bool poll_now = false;
    StopSource interrupt;
  };

  void run(const StopToken& stop);
  Status register_here(const StopToken& stop);
  Result<rpc::PollReply> poll_once(const StopToken& stop);
  void pause(const StopToken& stop, Duration time);
  /// Notes how the last call went, for people.
  void note_failure(const Error& failure);

  const std::shared_ptr<Session> session_;
  PollOwner& owner_;
  std::uint64_t number_;  // this thread only
  Guarded<State> state_;
  Thread thread_;  // last: uses everything above
};

}  // namespace cirrus::worker
