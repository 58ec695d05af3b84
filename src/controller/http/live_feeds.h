// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "base/stop.h"
#include "base/work_pool.h"
#include "controller/core/core.h"
#include "controller/http/change_feed.h"
#include "net/http_types.h"

namespace cirrus::controller::http {

/// Event streams of the fleet (`pool`, `worker`) and of the newest builds (`build`): each thing
/// once, then what changes, at most once a second however many watch. Both have `controller` while
/// it is in trouble. `removed` names what is
/// gone, `current` ends a batch and carries the id to come back with, `reset` says that what was
/// known before means nothing. Nothing is looked at while nobody watches.
class LiveFeeds {
 public:
  enum class Topic { Fleet, Builds };

  /// What is wrong with the controller, as sentences; empty: nothing. Called on any thread.
  using Troubles = std::function<std::vector<std::string>()>;

  /// All must outlive it, or `stop` come first.
  LiveFeeds(core::Core& core, WorkPool& pool, Troubles troubles);
  ~LiveFeeds();
  LiveFeeds(const LiveFeeds&) = delete;
  LiveFeeds& operator=(const LiveFeeds&) = delete;

  /// Answers with the stream. `last_id`: the id of the last event the client has; may be empty.
  void stream(Topic topic, const std::string& last_id,
              const std::shared_ptr<net::Responder>& responder);
  /// Ends its thread; streams stay open until the server closes them. Safe to call twice.
  void stop();

 private:
  struct Subscriber {
    explicit Subscriber(net::Responder& responder) : events(responder) {}
    net::EventStream events;
    std::atomic<bool> closed{false};     // set by the server's thread
    std::optional<std::uint64_t> known;  ///< the generation it has been told; guarded as the feed
  };
  struct Feed {
    ChangeFeed items;
    std::vector<std::shared_ptr<Subscriber>> subscribers;
    bool asked = false;  ///< a refresh is on its way
  };
  struct Feeds {
    Feed fleet;
    Feed builds;
    bool news = false;  ///< a subscriber came
    Feed& of(Topic topic) { return topic == Topic::Fleet ? fleet : builds; }
  };
  void run(const StopToken& stop);
  void refresh(Topic topic);
  void read_fleet();
  void read_builds();
  void publish(Topic topic, std::map<std::string, std::string> items);
  void give_up(Topic topic);
  /// What both feeds begin with.
  std::map<std::string, std::string> of_the_controller() const;

  core::Core& core_;         // constant after construction
  WorkPool& pool_;           // constant after construction
  const Troubles troubles_;  // constant after construction
  const std::string epoch_;  // constant after construction; ids of another one mean nothing
  Guarded<Feeds> feeds_;
  Thread thread_;
};

}  // namespace cirrus::controller::http
