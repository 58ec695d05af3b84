// SPDX-License-Identifier: MIT
// Scheduler: why a task waits.
#include <fmt/format.h>

#include "base/strings.h"
#include "controller/scheduler/scheduler.h"

namespace cirrus::controller::scheduler {

namespace {
std::string label_text(const std::string& key, const std::string& value) {
  return fmt::format("{}={}", key, value);
}

const char* are(int count) {
  return count == 1 ? " is" : "s are";
}

/// Why a pool keeps a task of an untrusted build off its workers, and what helps.
std::string untrusted_text(const WorkerOffer& offer, model::IsolationKind kind, int workers) {
  const std::string rule =
      offer.untrusted.empty()
          ? std::string("takes tasks of trusted builds only")
          : fmt::format("lets untrusted builds use isolation {} only, not {}",
                        join(offer.untrusted.words(), ", "), model::to_string(kind));
  return fmt::format(
      "{} matching worker{} kept from it: pool '{}' {}; submit it with a trusted token, or let its "
      "labels choose other workers",
      workers, are(workers), offer.pool, rule);
}
}  // namespace

const model::WaitingReasons& Scheduler::reasons(model::TaskId task) const {
  const auto found = waiting_.find(task);
  if (found == waiting_.end()) return nothing_;
  const DemandClass& demand_class = *found->second.first;
  if (demand_class.reasons_at != changes_) {
    demand_class.reasons = explain(demand_class);
    demand_class.reasons_at = changes_;
  }
  return demand_class.reasons;
}

model::WaitingReasons Scheduler::explain(const DemandClass& demand_class) const {
  using model::WaitingReason;
  using Kind = WaitingReason::Kind;
  const Demand& demand = demand_class.demand;
  model::WaitingReasons reasons;
  const Worker* nearest = nullptr;
  std::size_t nearest_misses = 0;
  int known = 0;
  int with_labels = 0;
  std::map<Kind, int> count;
  std::string paused_pool;
  const Worker* untrusting = nullptr;
  WaitingReason too_small;
  WaitingReason busy;
  WaitingReason kept;
  too_small.kind = Kind::TooSmall;
  busy.kind = Kind::Busy;
  kept.kind = Kind::Kept;
  for (WorkerIndex index = 0; index < workers_.size(); ++index) {
    if (!workers_[index] || !workers_[index]->known) continue;
    const Worker& worker = *workers_[index];
    ++known;
    const std::size_t misses = demand.labels.mismatch_count(worker.offer.labels);
    if (misses > 0) {
      if (nearest == nullptr || misses < nearest_misses) {
        nearest = &worker;
        nearest_misses = misses;
      }
      continue;
    }
    ++with_labels;
    if (!admits(worker, demand)) {
      ++count[Kind::Untrusted];
      if (untrusting == nullptr) untrusting = &worker;
    } else if (demand.avoid.contains(index)) {
      ++count[Kind::Avoided];
    } else if (worker.offer.silent) {
      ++count[Kind::NotConnected];
    } else if (worker.offer.pool_paused) {
      ++count[Kind::PoolPaused];
      paused_pool = worker.offer.pool;
    } else if (worker.offer.disabled) {
      ++count[Kind::Paused];
    } else if (worker.offer.draining) {
      ++count[Kind::Draining];
    } else if (const auto never = model::first_shortage(demand.resources, worker.offer.resources)) {
      ++count[Kind::TooSmall];
      const double gap = never->wanted - never->available;
      if (too_small.text.empty() || gap < too_small.missing) {
        too_small.worker = worker.offer.name;
        too_small.resource = never->name;
        too_small.missing = gap;
        too_small.text = fmt::format("{} short by {} on {} (wants {}, it has {})", never->name, gap,
                                     worker.offer.name, never->wanted, never->available);
      }
    } else if (!has_room(worker, demand_class.wants) ||
               (worker.offer.resources.empty() && worker.running > 0)) {
      ++count[Kind::Busy];
      model::Resources free = worker.offer.resources;
      for (const auto& [name, id] : resource_ids_) {
        for (const Slot& slot : worker.slots) {
          if (slot.resource == id && free.contains(name)) free[name] = slot.total - slot.used;
        }
      }
      const auto gap = model::first_shortage(demand.resources, free);
      const double missing = gap ? gap->wanted - gap->available : 0;
      if (busy.worker.empty() || missing < busy.missing) {
        busy.worker = worker.offer.name;
        busy.resource = gap ? gap->name : "";
        busy.missing = missing;
      }
    } else if (worker.kept_for != nullptr && worker.kept_for != &demand_class) {
      ++count[Kind::Kept];
      kept.worker = worker.offer.name;
      kept.task = worker.kept_for->queue.begin()->task;
    } else {
      ++count[Kind::BetweenPolls];
    }
  }
  const auto add = [&](Kind kind, std::string text) {
    WaitingReason reason;
    reason.kind = kind;
    reason.workers = count[kind];
    reason.text = std::move(text);
    reasons.push_back(std::move(reason));
  };
  if (known == 0) {
    add(Kind::NoWorkers, "no worker has registered yet");
    return reasons;
  }
  if (with_labels == 0) {
    const auto miss = demand.labels.first_mismatch(nearest->offer.labels);
    WaitingReason reason;
    reason.kind = Kind::MissingLabel;
    reason.label = miss->key;
    reason.wanted = miss->wanted;
    reason.offered = miss->offered.value_or("");
    reason.worker = nearest->offer.name;
    reason.text = fmt::format(
        "no worker has label {}; nearest: {}, which has {}", label_text(miss->key, miss->wanted),
        nearest->offer.name,
        miss->offered ? label_text(miss->key, *miss->offered) : fmt::format("no '{}'", miss->key));
    reasons.push_back(std::move(reason));
    return reasons;
  }
  if (const int n = count[Kind::BetweenPolls]; n > 0) {
    add(Kind::BetweenPolls, fmt::format("{} matching worker{} about to ask for work", n, are(n)));
  }
  if (const int n = count[Kind::Busy]; n > 0) {
    busy.workers = n;
    busy.text = fmt::format("{} of {} matching worker{} busy: waiting for free room", n,
                            with_labels, are(with_labels));
    if (!busy.resource.empty()) {
      busy.text += fmt::format(" ({} short by {} on {})", busy.resource, busy.missing, busy.worker);
    }
    reasons.push_back(std::move(busy));
  }
  if (const int n = count[Kind::Kept]; n > 0) {
    kept.workers = n;
    kept.text =
        fmt::format("{} is kept free for task {}, which has waited longer", kept.worker, kept.task);
    reasons.push_back(std::move(kept));
  }
  if (const int n = count[Kind::TooSmall]; n > 0) {
    too_small.workers = n;
    reasons.push_back(std::move(too_small));
  }
  if (const int n = count[Kind::Untrusted]; n > 0) {
    add(Kind::Untrusted, untrusted_text(untrusting->offer, *demand.untrusted_in, n));
    reasons.back().pool = untrusting->offer.pool;
  }
  if (const int n = count[Kind::PoolPaused]; n > 0) {
    add(Kind::PoolPaused, fmt::format("pool '{}' is paused", paused_pool));
    reasons.back().pool = paused_pool;
  }
  if (const int n = count[Kind::Paused]; n > 0) {
    add(Kind::Paused, fmt::format("{} matching worker{} paused", n, are(n)));
  }
  if (const int n = count[Kind::Draining]; n > 0) {
    add(Kind::Draining, fmt::format("{} matching worker{} draining", n, are(n)));
  }
  if (const int n = count[Kind::NotConnected]; n > 0) {
    add(Kind::NotConnected, fmt::format("{} matching worker{} not connected", n, are(n)));
  }
  if (const int n = count[Kind::Avoided]; n > 0) {
    add(Kind::Avoided,
        fmt::format("{} matching worker{} avoided: it was lost or refused there", n, are(n)));
  }
  return reasons;
}

}  // namespace cirrus::controller::scheduler
