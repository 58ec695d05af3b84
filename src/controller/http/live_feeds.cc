// SPDX-License-Identifier: MIT
#include "controller/http/live_feeds.h"

#include <charconv>

#include "base/ids.h"
#include "controller/http/json_views.h"

namespace cirrus::controller::http {

namespace {
constexpr std::chrono::seconds kPeriod{1};
constexpr int kNewestBuilds = 50;
/// Above this much unsent, a slow client skips rounds instead of piling them up.
constexpr std::size_t kEnough = 256 * 1024;

std::string event_of(const std::string& name) {
  return name.substr(0, name.find('/'));
}

/// `<epoch>-<generation>`; nothing for any other id.
std::optional<std::uint64_t> generation_of(const std::string& id, const std::string& epoch) {
  if (!id.starts_with(epoch + "-")) return std::nullopt;
  std::uint64_t generation = 0;
  const char* const end = id.data() + id.size();
  const auto read = std::from_chars(id.data() + epoch.size() + 1, end, generation);
  if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
  return generation;
}
}  // namespace

LiveFeeds::LiveFeeds(core::Core& core, WorkPool& pool, Troubles troubles)
    : core_(core),
      pool_(pool),
      troubles_(std::move(troubles)),
      epoch_(random_hex(8)),
      thread_([this](const StopToken& stop) { run(stop); }) {}

LiveFeeds::~LiveFeeds() {
  stop();
}

void LiveFeeds::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  feeds_.notify_all();
  thread_.join();
}

void LiveFeeds::stream(Topic topic, const std::string& last_id,
                       const std::shared_ptr<net::Responder>& responder) {
  const auto subscriber = std::make_shared<Subscriber>(*responder);
  subscriber->known = generation_of(last_id, epoch_);
  subscriber->events.on_close([weak = std::weak_ptr<Subscriber>(subscriber)] {
    if (const auto gone = weak.lock()) gone->closed = true;
  });
  feeds_.update([&](Feeds& feeds) {
    feeds.of(topic).subscribers.push_back(subscriber);
    feeds.news = true;
  });
}

void LiveFeeds::run(const StopToken& stop) {
  while (!stop.stop_requested()) {
    const auto watched = [](const Feeds& feeds) {
      return !feeds.fleet.subscribers.empty() || !feeds.builds.subscribers.empty();
    };
    feeds_.wait(stop, watched, [](Feeds& feeds, bool) { feeds.news = false; });
    if (stop.stop_requested()) return;
    refresh(Topic::Fleet);
    refresh(Topic::Builds);
    // Who just came does not wait for the others' next round.
    feeds_.wait_until(
        stop, core_.clock().now() + kPeriod, [](const Feeds& feeds) { return feeds.news; },
        [](Feeds&, bool) {});
  }
}

void LiveFeeds::refresh(Topic topic) {
  const bool wanted = feeds_.with([&](Feeds& feeds) {
    Feed& feed = feeds.of(topic);
    std::erase_if(feed.subscribers,
                  [](const auto& subscriber) { return subscriber->closed.load(); });
    if (feed.subscribers.empty() || feed.asked) return false;
    feed.asked = true;
    return true;
  });
  if (!wanted) return;
  if (topic == Topic::Fleet) return read_fleet();
  if (!pool_.run([this](const StopToken&) { read_builds(); })) give_up(Topic::Builds);
}

void LiveFeeds::give_up(Topic topic) {
  feeds_.with([&](Feeds& feeds) { feeds.of(topic).asked = false; });
}

std::map<std::string, std::string> LiveFeeds::of_the_controller() const {
  const std::vector<std::string> troubles = troubles_();
  if (troubles.empty()) return {};
  return {{"controller", troubles_event_json(troubles)}};
}

void LiveFeeds::read_fleet() {
  struct Fleet {
    std::vector<core::PoolView> pools;
    std::vector<core::WorkerView> workers;
    WallTime at;
  };
  const bool posted = core_.post([this](core::State& state, core::Moment moment) {
    auto fleet = std::make_shared<const Fleet>(
        Fleet{state.view_pools(), state.view_workers(moment), moment.wall});
    // Drawn elsewhere: thousands of workers are a lot of text.
    const bool queued = pool_.run([this, fleet](const StopToken&) {
      std::map<std::string, std::string> items = of_the_controller();
      for (const core::PoolView& pool : fleet->pools) {
        items["pool/" + pool.record.name] = pool_event_json(pool);
      }
      for (const core::WorkerView& worker : fleet->workers) {
        items["worker/" + worker.pool + "/" + worker.name] = worker_event_json(worker, fleet->at);
      }
      publish(Topic::Fleet, std::move(items));
    });
    if (!queued) give_up(Topic::Fleet);
  });
  if (!posted) give_up(Topic::Fleet);
}

void LiveFeeds::read_builds() {
  const auto ids = core_.store().list_builds(0, kNewestBuilds);
  if (!ids.ok()) return give_up(Topic::Builds);
  std::map<std::string, std::string> items = of_the_controller();
  for (const model::BuildId id : ids.value()) {
    const auto rows = core_.store().read_build(id);
    if (!rows.ok()) return give_up(Topic::Builds);
    if (!rows.value()) continue;
    items["build/" + id.to_string()] = build_event_json(core::State::view_of_rows(*rows.value()));
  }
  publish(Topic::Builds, std::move(items));
}

void LiveFeeds::publish(Topic topic, std::map<std::string, std::string> items) {
  struct Delivery {
    std::shared_ptr<Subscriber> to;
    ChangeFeed::Changes changes;
  };
  const std::vector<Delivery> deliveries = feeds_.with([&](Feeds& feeds) {
    Feed& feed = feeds.of(topic);
    feed.items.update(std::move(items));
    std::vector<Delivery> due;
    for (const auto& subscriber : feed.subscribers) {
      if (subscriber->known == feed.items.generation()) continue;
      if (subscriber->closed || subscriber->events.pending() > kEnough) continue;
      due.push_back({subscriber, feed.items.since(subscriber->known.value_or(0))});
      subscriber->known = feed.items.generation();
    }
    return due;
  });
  for (const Delivery& delivery : deliveries) {
    net::EventStream& events = delivery.to->events;
    if (delivery.changes.reset) events.send("reset", "{}");
    for (const ChangeFeed::Change& change : delivery.changes.changes) {
      if (change.text.empty()) {
        events.send("removed", removed_event_json(change.name));
      } else {
        events.send(event_of(change.name), change.text);
      }
    }
    events.send("current", "{}", fmt::format("{}-{}", epoch_, delivery.changes.generation));
  }
  give_up(topic);
}

}  // namespace cirrus::controller::http
