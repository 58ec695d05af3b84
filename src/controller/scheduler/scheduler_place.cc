// SPDX-License-Identifier: MIT
// Scheduler: who runs what, and which workers are kept for whoever waited long (rules 4 and 5).
#include <algorithm>

#include "controller/scheduler/scheduler.h"

namespace cirrus::controller::scheduler {

namespace {
/// How many of the least busy workers are tried before a class learns about all of them: with an
/// idle fleet the first or second one fits.
constexpr int kQuickLook = 32;
}  // namespace

bool Scheduler::kept_from(const Worker& worker, const DemandClass& demand_class) const {
  return worker.kept_for != nullptr && worker.kept_for != &demand_class &&
         worker.kept_round == round_;
}

std::optional<WorkerIndex> Scheduler::best_worker(DemandClass& demand_class) {
  if (!demand_class.built) {
    if (demand_class.isolation == 0 || !standbys_.contains(demand_class.isolation)) {
      int looked_at = 0;
      for (const auto& [running, index] : open_) {
        if (++looked_at > kQuickLook) break;
        const Worker& worker = *workers_[index];
        if (has_room(worker, demand_class.wants) && !kept_from(worker, demand_class) &&
            !demand_class.demand.avoid.contains(index) && admits(worker, demand_class.demand) &&
            !demand_class.demand.labels.first_mismatch(worker.offer.labels)) {
          return index;
        }
      }
    }
    build(demand_class);
  }
  std::vector<Candidate>& heap = demand_class.candidates;
  const auto worse = [](const Candidate& a, const Candidate& b) { return b.rank < a.rank; };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), worse);
    Candidate top = heap.back();
    heap.pop_back();
    const Worker* const worker = find(top.rank.worker);
    // Improved since: a newer entry is in the heap, unless it had no room even then.
    if (worker == nullptr || worker->epoch != top.epoch) continue;
    // No room now: it comes back when it improves.
    if (!worker->in_open || !has_room(*worker, demand_class.wants)) continue;
    const Rank now = rank(*worker, top.rank.worker, demand_class);
    if (now != top.rank) {  // busier than it was; later in the order
      top.rank = now;
      heap.push_back(top);
      std::push_heap(heap.begin(), heap.end(), worse);
      continue;
    }
    if (kept_from(*worker, demand_class)) {
      aside_.emplace_back(&demand_class, top);
      continue;
    }
    return top.rank.worker;
  }
  return std::nullopt;
}

void Scheduler::keep_one(DemandClass& demand_class) {
  if (demand_class.kept) {
    Worker* const worker = find(*demand_class.kept);
    if (worker != nullptr && capable(*worker, demand_class.demand)) {
      worker->kept_round = round_;
      return;
    }
    end_keeping(demand_class);
  }
  if (demand_class.no_keep_at == facts_) return;
  std::optional<WorkerIndex> best;
  for (const WorkerIndex index : demand_class.selector->workers) {
    const Worker& worker = *workers_[index];
    if (worker.kept_for != nullptr || !could_run(index, demand_class.demand)) continue;
    if (!best || std::pair(worker.running, index) < std::pair(workers_[*best]->running, *best)) {
      best = index;
    }
  }
  if (!best) {
    demand_class.no_keep_at = facts_;
    return;
  }
  demand_class.kept = best;
  workers_[*best]->kept_for = &demand_class;
  workers_[*best]->kept_round = round_;
  ++changes_;
}

void Scheduler::end_keeping(DemandClass& demand_class) {
  if (!demand_class.kept) return;
  if (Worker* const worker = find(*demand_class.kept); worker != nullptr) {
    worker->kept_for = nullptr;
  }
  demand_class.kept.reset();
  ++facts_;  // another class may keep it now
}

std::vector<Placement> Scheduler::place() {
  std::vector<Placement> placements;
  if (open_.empty() || (hot_.empty() && starving_.empty())) return placements;
  ++round_;

  // Heads of the queues that may move, the most urgent first. A class leaves once it fits nowhere.
  // The starving ones come along so that their workers are kept from those after them.
  const auto later = [](const DemandClass* a, const DemandClass* b) {
    return *b->queue.begin() < *a->queue.begin();
  };
  std::vector<DemandClass*> heads(hot_.begin(), hot_.end());
  for (DemandClass* const demand_class : starving_) {
    if (!hot_.contains(demand_class)) heads.push_back(demand_class);
  }
  std::make_heap(heads.begin(), heads.end(), later);

  std::vector<Place> placed;  // ascending, because the most urgent goes first
  std::vector<DemandClass*> emptied;
  while (!heads.empty() && !open_.empty()) {
    std::pop_heap(heads.begin(), heads.end(), later);
    DemandClass* const demand_class = heads.back();
    heads.pop_back();
    const std::optional<WorkerIndex> found = best_worker(*demand_class);
    if (!found) {
      hot_.erase(demand_class);
      if (demand_class->passed_over >= kPatience) keep_one(*demand_class);
      continue;
    }
    const Place head = *demand_class->queue.begin();
    demand_class->queue.erase(demand_class->queue.begin());
    demand_class->passed_over = 0;
    starving_.erase(demand_class);
    end_keeping(*demand_class);
    waiting_.erase(head.task);
    Worker& worker = *workers_[*found];
    if (demand_class->isolation != 0 && worker.isolation == demand_class->isolation) {
      // The stand-by is used up.
      use_isolation(worker, 0);
      worker.standby = {};
    }
    book(head.task, *found, demand_class->demand.resources);
    if (demand_class->built) offer_to(*demand_class, *found, worker);
    placements.push_back({head.task, *found});
    placed.push_back(head);
    if (demand_class->queue.empty()) {
      emptied.push_back(demand_class);
    } else {
      heads.push_back(demand_class);
      std::push_heap(heads.begin(), heads.end(), later);
    }
  }
  for (const auto& [demand_class, candidate] : aside_) {
    const auto worse = [](const Candidate& a, const Candidate& b) { return b.rank < a.rank; };
    demand_class->candidates.push_back(candidate);
    std::push_heap(demand_class->candidates.begin(), demand_class->candidates.end(), worse);
    hot_.insert(demand_class);
  }
  aside_.clear();
  for (DemandClass* const demand_class : emptied) erase(*demand_class);
  if (placed.empty()) return placements;
  // Everybody who still waits was passed over by what is less urgent and was placed.
  for (const auto& [key, demand_class] : classes_) {
    const Place& head = *demand_class->queue.begin();
    if (placed.back() < head) continue;
    demand_class->passed_over +=
        static_cast<int>(placed.end() - std::upper_bound(placed.begin(), placed.end(), head));
    if (demand_class->passed_over >= kPatience) starving_.insert(demand_class.get());
  }
  return placements;
}

}  // namespace cirrus::controller::scheduler
