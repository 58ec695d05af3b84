// SPDX-License-Identifier: MIT
#include "controller/scheduler/scheduler.h"

#include <map>
#include <random>
#include <set>

#include <gtest/gtest.h>

namespace cirrus::controller::scheduler {

namespace {
WorkerOffer offer(std::string name, model::Labels labels = {}, model::Resources resources = {}) {
  WorkerOffer made;
  made.name = std::move(name);
  made.labels = std::move(labels);
  made.resources = std::move(resources);
  made.accepts = true;
  return made;
}

Demand demand(model::Labels labels = {}, model::Resources resources = {}, int priority = 0) {
  return {model::LabelSelector::create(std::move(labels)).value(), std::move(resources), priority,
          ""};
}

model::IsolationSet allowing(const std::vector<std::string>& words) {
  return model::IsolationSet::of(words).value();
}

std::map<std::int64_t, WorkerIndex> by_task(const std::vector<Placement>& placements) {
  std::map<std::int64_t, WorkerIndex> map;
  for (const Placement& placement : placements) map[placement.task.value] = placement.worker;
  return map;
}

/// The same rules, written down as plainly as possible: looks at everything every time.
class Exhaustive {
 public:
  struct Worker {
    WorkerOffer offer;
    Standby standby;
    model::Resources used;
    int running = 0;
    int alone = 0;
    std::string kept_for;  ///< key of a kind of demand
  };
  struct Kind {
    Demand demand;
    std::set<std::pair<int, std::int64_t>> queue;  ///< by (-priority, id)
    int passed_over = 0;
    WorkerIndex kept = 0;
  };

  std::map<WorkerIndex, Worker> workers;
  std::map<std::string, Kind> kinds;
  std::map<std::int64_t, std::pair<WorkerIndex, model::Resources>> booked;

  static std::string key(const Demand& demand) {
    std::string text = demand.isolation + "|";
    for (const auto& [k, v] : demand.labels.wanted()) text += k + "=" + v + ",";
    text += "|";
    for (const auto& [k, v] : demand.resources) text += k + "=" + std::to_string(v) + ",";
    if (demand.untrusted_in) text += "|" + std::string(model::to_string(*demand.untrusted_in));
    return text;
  }
  void add(std::int64_t task, const Demand& demand) {
    Kind& kind = kinds[key(demand)];
    kind.demand = demand;
    kind.queue.insert({-demand.priority, task});
  }
  void unkeep(Kind& kind) {
    if (kind.kept != 0 && workers.contains(kind.kept)) workers.at(kind.kept).kept_for.clear();
    kind.kept = 0;
  }
  void remove(std::int64_t task) {
    for (auto kind = kinds.begin(); kind != kinds.end(); ++kind) {
      if (std::erase_if(kind->second.queue, [&](const auto& e) { return e.second == task; }) == 0) {
        continue;
      }
      if (kind->second.queue.empty()) {
        unkeep(kind->second);
        kinds.erase(kind);
      }
      return;
    }
  }
  void release(std::int64_t task) {
    const auto found = booked.find(task);
    if (found == booked.end()) return;
    Worker& worker = workers.at(found->second.first);
    --worker.running;
    if (found->second.second.empty()) --worker.alone;
    for (const auto& [name, amount] : found->second.second) worker.used[name] -= amount;
    booked.erase(found);
  }
  static bool shut(const WorkerOffer& o) {
    return o.disabled || o.silent || o.draining || o.pool_paused;
  }
  static bool open(const Worker& w) {
    return w.offer.accepts && !shut(w.offer) && w.alone == 0 &&
           (!w.offer.resources.empty() || w.running == 0);
  }
  static bool admits(const Worker& w, const Demand& d) {
    return !d.untrusted_in || w.offer.untrusted.allows(*d.untrusted_in);
  }
  static bool fits(const Worker& w, const Demand& d) {
    if (!open(w) || !admits(w, d) || d.labels.first_mismatch(w.offer.labels)) return false;
    if (d.resources.empty()) return w.running == 0;
    model::Resources free = w.offer.resources;
    for (auto& [name, amount] : free) {
      const auto used = w.used.find(name);
      if (used != w.used.end()) amount -= used->second;
    }
    return !model::first_shortage(d.resources, free);
  }
  static bool capable(const Worker& w, const Demand& d) {
    return !shut(w.offer) && admits(w, d) && !d.labels.first_mismatch(w.offer.labels) &&
           !model::first_shortage(d.resources, w.offer.resources);
  }
  bool any_open() const {
    for (const auto& [index, w] : workers) {
      if (open(w)) return true;
    }
    return false;
  }

  std::vector<Placement> place() {
    std::vector<Placement> made;
    std::set<WorkerIndex> kept_now;
    std::set<std::string> stuck;
    while (any_open()) {
      std::string best_kind;
      for (const auto& [k, kind] : kinds) {
        if (stuck.contains(k) || kind.queue.empty()) continue;
        if (best_kind.empty() || *kind.queue.begin() < *kinds.at(best_kind).queue.begin()) {
          best_kind = k;
        }
      }
      if (best_kind.empty()) break;
      Kind& kind = kinds.at(best_kind);
      using Rank = std::tuple<std::int64_t, int, WorkerIndex>;
      std::optional<Rank> best;
      for (const auto& [index, w] : workers) {
        if (!fits(w, kind.demand)) continue;
        if (kept_now.contains(index) && w.kept_for != best_kind) continue;
        const bool warm =
            !kind.demand.isolation.empty() && w.standby.isolation == kind.demand.isolation;
        const Rank rank{warm ? -1 - static_cast<std::int64_t>(w.standby.age) : 0, w.running, index};
        if (!best || rank < *best) best = rank;
      }
      if (!best) {
        stuck.insert(best_kind);
        if (kind.passed_over >= Scheduler::kPatience) keep(best_kind, kind, kept_now);
        continue;
      }
      const std::int64_t task = kind.queue.begin()->second;
      const WorkerIndex index = std::get<2>(*best);
      kind.queue.erase(kind.queue.begin());
      kind.passed_over = 0;
      unkeep(kind);
      Worker& w = workers.at(index);
      ++w.running;
      if (kind.demand.resources.empty()) ++w.alone;
      for (const auto& [name, amount] : kind.demand.resources) w.used[name] += amount;
      if (!kind.demand.isolation.empty() && w.standby.isolation == kind.demand.isolation) {
        w.standby = {};
      }
      booked[task] = {index, kind.demand.resources};
      made.push_back({{task}, index});
      for (const std::string& other : stuck) ++kinds.at(other).passed_over;
    }
    std::erase_if(kinds, [](const auto& entry) { return entry.second.queue.empty(); });
    return made;
  }
  void keep(const std::string& name, Kind& kind, std::set<WorkerIndex>& kept_now) {
    if (kind.kept != 0) {
      const auto found = workers.find(kind.kept);
      if (found != workers.end() && capable(found->second, kind.demand)) {
        kept_now.insert(kind.kept);
        return;
      }
      unkeep(kind);
    }
    for (const auto& [index, w] : workers) {
      if (!w.kept_for.empty() || !capable(w, kind.demand)) continue;
      if (kind.kept == 0 || w.running < workers.at(kind.kept).running) kind.kept = index;
    }
    if (kind.kept == 0) return;
    workers.at(kind.kept).kept_for = name;
    kept_now.insert(kind.kept);
  }
};
}  // namespace

TEST(Scheduler, AWorkerWithoutResourcesRunsOneTaskAtATime) {
  Scheduler scheduler;
  scheduler.set_worker(1, offer("w"));
  scheduler.add_task({1}, demand());
  scheduler.add_task({2}, demand());
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{1, 1}}));
  EXPECT_TRUE(scheduler.place().empty());
  scheduler.release({1});
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{2, 1}}));
}

TEST(Scheduler, AResourcelessTaskIsAloneOnAWorkerWithResources) {
  Scheduler scheduler;
  scheduler.set_worker(1, offer("w", {}, {{"cpu", 4}}));
  scheduler.add_task({1}, demand({}, {{"cpu", 1}}));
  scheduler.add_task({2}, demand());
  scheduler.add_task({3}, demand({}, {{"cpu", 1}}));
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{1, 1}, {3, 1}}));
  scheduler.release({1});
  EXPECT_TRUE(scheduler.place().empty());
  scheduler.release({3});
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{2, 1}}));
  scheduler.add_task({4}, demand({}, {{"cpu", 1}}));
  EXPECT_TRUE(scheduler.place().empty());
}

TEST(Scheduler, PriorityComesBeforeAge) {
  Scheduler scheduler;
  scheduler.add_task({1}, demand());
  scheduler.add_task({2}, demand({}, {}, 5));
  scheduler.add_task({3}, demand({{"os", "x"}}, {}, 9));
  scheduler.set_worker(1, offer("w"));
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{2, 1}}));
}

TEST(Scheduler, SpreadsOverIdleWorkers) {
  Scheduler scheduler;
  for (WorkerIndex w = 1; w <= 3; ++w) scheduler.set_worker(w, offer("w", {}, {{"cpu", 8}}));
  for (int t = 1; t <= 3; ++t) scheduler.add_task({t}, demand({}, {{"cpu", 1}}));
  EXPECT_EQ(by_task(scheduler.place()),
            (std::map<std::int64_t, WorkerIndex>{{1, 1}, {2, 2}, {3, 3}}));
}

TEST(Scheduler, NothingGoesToAWorkerThatIsPausedSilentOrNotListening) {
  for (int fact = 0; fact < 5; ++fact) {
    Scheduler scheduler;
    WorkerOffer closed = offer("w");
    if (fact == 0) closed.disabled = true;
    if (fact == 1) closed.silent = true;
    if (fact == 2) closed.accepts = false;
    if (fact == 3) closed.draining = true;
    if (fact == 4) closed.pool_paused = true;
    scheduler.set_worker(1, closed);
    scheduler.add_task({1}, demand());
    EXPECT_TRUE(scheduler.place().empty()) << fact;
    EXPECT_FALSE(scheduler.reasons({1}).empty()) << fact;
  }
}

TEST(Scheduler, ABigTaskIsNotStarvedBySmallOnes) {
  Scheduler scheduler;
  scheduler.set_worker(1, offer("w", {}, {{"cpu", 2}}));
  scheduler.book({1}, 1, {{"cpu", 1}});
  scheduler.add_task({2}, demand({}, {{"cpu", 2}}));
  std::int64_t next = 3;
  std::int64_t small = 1;
  bool placed = false;
  for (int round = 0; round < 3 * Scheduler::kPatience && !placed; ++round) {
    scheduler.add_task({next++}, demand({}, {{"cpu", 1}}));
    for (const Placement& placement : scheduler.place()) {
      placed = placed || placement.task.value == 2;
      scheduler.release({small});
      small = placement.task.value;
    }
    if (round > 2 * Scheduler::kPatience) scheduler.release({small});
  }
  EXPECT_TRUE(placed);
}

TEST(Scheduler, SaysWhyATaskWaits) {
  Scheduler scheduler;
  scheduler.add_task({1}, demand({{"os", "darwin"}}));
  EXPECT_EQ(scheduler.reasons({1}).front().text, "no worker has registered yet");
  scheduler.set_worker(1, offer("w1", {{"os", "linux"}}, {{"gpu", 1}}));
  EXPECT_EQ(scheduler.reasons({1}).front().text,
            "no worker has label os=darwin; nearest: w1, which has os=linux");
  scheduler.add_task({2}, demand({}, {{"gpu", 2}}));
  EXPECT_EQ(scheduler.reasons({2}).front().text, "gpu short by 1 on w1 (wants 2, it has 1)");
  EXPECT_TRUE(scheduler.reasons({99}).empty());
}

TEST(Scheduler, NeverOvercommitsUnderRandomLoad) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    Scheduler scheduler;
    std::map<WorkerIndex, double> total;
    std::map<WorkerIndex, std::map<std::int64_t, double>> running;
    std::map<std::int64_t, double> wants;
    std::int64_t next = 1;
    for (WorkerIndex w = 1; w <= 5; ++w) {
      total[w] = static_cast<double>(random() % 4);
      model::Resources resources;
      if (total[w] > 0) resources["cpu"] = total[w];
      scheduler.set_worker(w, offer("w", {}, resources));
    }
    for (int step = 0; step < 300; ++step) {
      if (random() % 2 == 0) {
        wants[next] = static_cast<double>(random() % 4);
        model::Resources resources;
        if (wants[next] > 0) resources["cpu"] = wants[next];
        scheduler.add_task({next++}, demand({}, resources, static_cast<int>(random() % 3)));
      } else {
        auto& host = running[static_cast<WorkerIndex>(1 + random() % 5)];
        if (!host.empty()) {
          scheduler.release({host.begin()->first});
          host.erase(host.begin());
        }
      }
      for (const Placement& placement : scheduler.place()) {
        running[placement.worker][placement.task.value] = wants[placement.task.value];
      }
      for (const auto& [w, tasks] : running) {
        double used = 0;
        bool alone = false;
        for (const auto& [id, amount] : tasks) {
          used += amount;
          alone = alone || amount == 0;
        }
        ASSERT_LE(used, total[w]) << "seed " << seed;
        if (alone) {
          ASSERT_EQ(tasks.size(), 1U) << "seed " << seed;
        }
      }
    }
  }
}

TEST(Scheduler, PlacesExactlyWhatAnExhaustiveSearchWouldPlace) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto roll = [&](unsigned sides) { return static_cast<unsigned>(random() % sides); };
    Scheduler scheduler;
    Exhaustive exhaustive;
    const bool long_queue = seed % 4 == 0;  // lets patience run out
    const WorkerIndex workers = 2 + roll(long_queue ? 4 : 60);
    const auto random_offer = [&] {
      model::Labels labels = {{"os", roll(3) == 0 ? "darwin" : "linux"}};
      if (roll(2) == 0) labels["zone"] = "z" + std::to_string(roll(3));
      model::Resources resources;
      if (roll(4) != 0) resources["cpu"] = static_cast<double>(1 + roll(4));
      if (roll(4) == 0) resources["gpu"] = static_cast<double>(1 + roll(2));
      WorkerOffer made = offer("w", std::move(labels), std::move(resources));
      made.accepts = roll(4) != 0;
      made.disabled = roll(12) == 0;
      made.silent = roll(12) == 0;
      made.draining = roll(16) == 0;
      made.pool_paused = roll(16) == 0;
      if (roll(6) == 0) made.untrusted = allowing({});
      if (roll(6) == 0) made.untrusted = allowing({"container"});
      return made;
    };
    for (WorkerIndex w = 1; w <= workers; ++w) {
      const WorkerOffer made = random_offer();
      scheduler.set_worker(w, made);
      exhaustive.workers[w].offer = made;
    }
    std::int64_t next = 1;
    for (int step = 0; step < 250; ++step) {
      const WorkerIndex w = 1 + roll(workers);
      switch (roll(10)) {
        case 0: {
          const WorkerOffer made = random_offer();
          scheduler.set_worker(w, made);
          exhaustive.workers[w].offer = made;
          break;
        }
        case 1:
        case 2: {
          const bool accepts = roll(3) != 0;
          scheduler.set_accepts(w, accepts);
          exhaustive.workers[w].offer.accepts = accepts;
          break;
        }
        case 3: {
          const Standby standby{roll(3) == 0 ? "" : "vm" + std::to_string(roll(2)), roll(3)};
          scheduler.set_standby(w, standby);
          exhaustive.workers[w].standby = standby;
          break;
        }
        case 4:
          if (next > 1) {
            const std::int64_t task =
                1 + static_cast<std::int64_t>(roll(static_cast<unsigned>(next)));
            scheduler.remove_task({task});
            exhaustive.remove(task);
          }
          break;
        case 5:
        case 6:
          if (!exhaustive.booked.empty()) {
            auto victim = exhaustive.booked.begin();
            std::advance(victim, roll(static_cast<unsigned>(exhaustive.booked.size())));
            const std::int64_t task = victim->first;
            scheduler.release({task});
            exhaustive.release(task);
          }
          break;
        default:
          for (unsigned n = 1 + roll(long_queue ? 12 : 3); n > 0; --n) {
            model::Labels labels;
            if (roll(3) != 0) labels["os"] = roll(3) == 0 ? "darwin" : "linux";
            if (roll(4) == 0) labels["zone"] = "z" + std::to_string(roll(4));
            model::Resources resources;
            if (roll(5) != 0) resources["cpu"] = static_cast<double>(1 + roll(4));
            if (roll(8) == 0) resources["gpu"] = 1;
            Demand wanted = demand(labels, resources, roll(6) == 0 ? static_cast<int>(roll(3)) : 0);
            if (roll(5) == 0) wanted.isolation = "vm" + std::to_string(roll(2));
            if (roll(3) == 0) {
              wanted.untrusted_in =
                  roll(2) == 0 ? model::IsolationKind::None : model::IsolationKind::Container;
            }
            scheduler.add_task({next}, wanted);
            exhaustive.add(next++, wanted);
          }
          break;
      }
      if (roll(3) == 0) continue;
      const auto got = scheduler.place();
      const auto wanted = exhaustive.place();
      ASSERT_EQ(got.size(), wanted.size()) << "step " << step;
      for (std::size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].task, wanted[i].task) << "step " << step;
        ASSERT_EQ(got[i].worker, wanted[i].worker) << "step " << step;
      }
      ASSERT_EQ(scheduler.waiting(), [&] {
        std::size_t n = 0;
        for (const auto& [key, kind] : exhaustive.kinds) n += kind.queue.size();
        return n;
      }());
    }
  }
}

TEST(Scheduler, PrefersTheOldestMatchingStandbyAndUsesItUp) {
  Scheduler scheduler;
  for (WorkerIndex w = 1; w <= 3; ++w) scheduler.set_worker(w, offer("w", {}, {{"cpu", 4}}));
  scheduler.set_standby(2, {"vm", 5});
  scheduler.set_standby(3, {"vm", 9});
  Demand wanted = demand({}, {{"cpu", 1}});
  wanted.isolation = "vm";
  for (int t = 1; t <= 3; ++t) scheduler.add_task({t}, wanted);
  EXPECT_EQ(by_task(scheduler.place()),
            (std::map<std::int64_t, WorkerIndex>{{1, 3}, {2, 2}, {3, 1}}));
}

TEST(Scheduler, SaysWhichPoolIsPausedAndWhatIsKeptFree) {
  Scheduler scheduler;
  WorkerOffer closed = offer("w1");
  closed.pool_paused = true;
  closed.pool = "mac";
  scheduler.set_worker(1, closed);
  scheduler.add_task({1}, demand());
  EXPECT_EQ(scheduler.reasons({1}).front().text, "pool 'mac' is paused");
  EXPECT_EQ(scheduler.reasons({1}).front().kind, model::WaitingReason::Kind::PoolPaused);
  // A reason is not remembered longer than it is true.
  closed.pool_paused = false;
  closed.draining = true;
  scheduler.set_worker(1, closed);
  EXPECT_EQ(scheduler.reasons({1}).front().text, "1 matching worker is draining");
}

TEST(Scheduler, KeepsTasksOfUntrustedBuildsOffPoolsThatWantTrust) {
  Scheduler scheduler;
  WorkerOffer trusting = offer("w1");
  trusting.pool = "shared";
  trusting.untrusted = allowing({"container", "vetu"});
  WorkerOffer strict = offer("w2");
  strict.pool = "release";
  strict.untrusted = allowing({});
  scheduler.set_worker(1, trusting);
  scheduler.set_worker(2, strict);
  Demand bare = demand();
  bare.untrusted_in = model::IsolationKind::None;
  Demand contained = demand();
  contained.untrusted_in = model::IsolationKind::Container;
  scheduler.add_task({1}, bare);
  scheduler.add_task({2}, contained);
  scheduler.add_task({3}, demand());
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{2, 1}, {3, 2}}));
  const model::WaitingReason reason = scheduler.reasons({1}).front();
  EXPECT_EQ(reason.kind, model::WaitingReason::Kind::Untrusted);
  EXPECT_EQ(reason.pool, "shared");
  EXPECT_EQ(reason.workers, 2);
  EXPECT_EQ(
      reason.text,
      "2 matching workers are kept from it: pool 'shared' lets untrusted builds use isolation "
      "container, vetu only, not none; submit it with a trusted token, or let its labels "
      "choose other workers");
  EXPECT_FALSE(scheduler.could_run(2, contained));
  // What a pool allows may change while a task waits.
  scheduler.release({2});
  trusting.untrusted = model::IsolationSet::any();
  scheduler.set_worker(1, trusting);
  EXPECT_EQ(by_task(scheduler.place()), (std::map<std::int64_t, WorkerIndex>{{1, 1}}));
}

TEST(Scheduler, SaysThatAPoolTakesTrustedBuildsOnly) {
  Scheduler scheduler;
  WorkerOffer strict = offer("w");
  strict.pool = "release";
  strict.untrusted = allowing({});
  scheduler.set_worker(1, strict);
  Demand wanted = demand();
  wanted.untrusted_in = model::IsolationKind::Vetu;
  scheduler.add_task({1}, wanted);
  EXPECT_TRUE(scheduler.place().empty());
  EXPECT_EQ(scheduler.reasons({1}).front().text,
            "1 matching worker is kept from it: pool 'release' takes tasks of trusted builds only; "
            "submit it with a trusted token, or let its labels choose other workers");
}

TEST(Scheduler, ForgetsAWorkerThatWasRemovedEvenIfItWasKeptFree) {
  Scheduler scheduler;
  scheduler.set_worker(1, offer("w", {}, {{"cpu", 2}}));
  scheduler.book({1}, 1, {{"cpu", 1}});
  scheduler.add_task({2}, demand({}, {{"cpu", 2}}));
  std::int64_t small = 0;
  for (std::int64_t t = 3; t < 3 + 2 * Scheduler::kPatience; ++t) {
    if (small != 0) scheduler.release({small});
    scheduler.add_task({t}, demand({}, {{"cpu", 1}}));
    const auto made = scheduler.place();
    if (!made.empty()) small = made.front().task.value;
  }
  scheduler.remove_worker(1);
  EXPECT_TRUE(scheduler.place().empty());
  scheduler.set_worker(1, offer("w", {}, {{"cpu", 2}}));
  scheduler.set_worker(2, offer("w2", {}, {{"cpu", 2}}));
  EXPECT_EQ(by_task(scheduler.place()).at(2), 1U);
}

}  // namespace cirrus::controller::scheduler
