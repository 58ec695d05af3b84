// SPDX-License-Identifier: MIT
#include "controller/scheduler/scheduler.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"

namespace cirrus::controller::scheduler {

namespace {
std::string label_text(const std::string& key, const std::string& value) {
  return fmt::format("{}={}", key, value);
}
}  // namespace

bool Scheduler::open(const Worker& worker) const {
  if (!worker.offer.accepts || worker.offer.disabled || worker.offer.silent) return false;
  if (worker.running_alone > 0) return false;
  return !worker.offer.resources.empty() || worker.running == 0;
}

bool Scheduler::has_room(const Worker& worker, const model::Resources& resources) {
  if (resources.empty()) return worker.running == 0;
  if (worker.running_alone > 0) return false;
  for (const auto& [name, amount] : resources) {
    const auto total = worker.offer.resources.find(name);
    const auto used = worker.used.find(name);
    const double free = (total == worker.offer.resources.end() ? 0 : total->second) -
                        (used == worker.used.end() ? 0 : used->second);
    if (amount > free + 1e-9) return false;
  }
  return true;
}

bool Scheduler::fits(const Worker& worker, const Demand& demand) const {
  return open(worker) && has_room(worker, demand.resources) &&
         !demand.labels.first_mismatch(worker.offer.labels);
}

void Scheduler::refresh(WorkerIndex index) {
  const auto found = workers_.find(index);
  if (found != workers_.end() && open(found->second)) {
    open_.insert(index);
  } else {
    open_.erase(index);
  }
}

void Scheduler::set_worker(WorkerIndex worker, WorkerOffer offer) {
  workers_[worker].offer = std::move(offer);
  refresh(worker);
}

void Scheduler::set_accepts(WorkerIndex worker, bool accepts) {
  const auto found = workers_.find(worker);
  if (found == workers_.end()) return;
  found->second.offer.accepts = accepts;
  refresh(worker);
}

void Scheduler::remove_worker(WorkerIndex worker) {
  workers_.erase(worker);
  open_.erase(worker);
}

void Scheduler::add_task(model::TaskId task, const Demand& demand) {
  CIRRUS_CHECK(!waiting_.contains(task), "a task waits once");
  std::unique_ptr<DemandClass>& entry =
      classes_[ClassKey(demand.labels.wanted(), demand.resources)];
  if (!entry) entry = std::make_unique<DemandClass>(DemandClass{demand, {}, 0});
  entry->queue.insert({demand.priority, task});
  waiting_[task] = entry.get();
}

void Scheduler::remove_task(model::TaskId task) {
  const auto found = waiting_.find(task);
  if (found == waiting_.end()) return;
  DemandClass& demand_class = *found->second;
  waiting_.erase(found);
  for (auto place = demand_class.queue.begin(); place != demand_class.queue.end(); ++place) {
    if (place->task != task) continue;
    demand_class.queue.erase(place);
    break;
  }
  if (demand_class.queue.empty()) {
    classes_.erase(ClassKey(demand_class.demand.labels.wanted(), demand_class.demand.resources));
  }
}

void Scheduler::book(model::TaskId task, WorkerIndex worker, const model::Resources& resources) {
  if (!booked_.emplace(task, Booking{worker, resources}).second) return;
  Worker& host = workers_[worker];
  ++host.running;
  if (resources.empty()) ++host.running_alone;
  model::add(host.used, resources);
  refresh(worker);
}

void Scheduler::release(model::TaskId task) {
  const auto found = booked_.find(task);
  if (found == booked_.end()) return;
  const Booking booking = std::move(found->second);
  booked_.erase(found);
  const auto host = workers_.find(booking.worker);
  if (host == workers_.end()) return;
  --host->second.running;
  if (booking.resources.empty()) --host->second.running_alone;
  model::subtract(host->second.used, booking.resources);
  if (host->second.running == 0) host->second.used.clear();  // forget rounding
  refresh(booking.worker);
}

const WorkerIndex* Scheduler::best_worker(const Demand& demand,
                                          const std::set<WorkerIndex>& reserved) const {
  const WorkerIndex* best = nullptr;
  int best_running = 0;
  for (const WorkerIndex& index : open_) {
    const Worker& worker = workers_.at(index);
    if (best != nullptr && worker.running >= best_running) continue;
    if (reserved.contains(index) || !fits(worker, demand)) continue;
    best = &index;
    best_running = worker.running;
    if (best_running == 0) break;  // nothing beats an idle one; the lowest index came first
  }
  return best;
}

const WorkerIndex* Scheduler::worker_to_reserve(const Demand& demand,
                                                const std::set<WorkerIndex>& reserved) const {
  const WorkerIndex* best = nullptr;
  int best_running = 0;
  for (const auto& [index, worker] : workers_) {
    if (worker.offer.disabled || worker.offer.silent || reserved.contains(index)) continue;
    if (demand.labels.first_mismatch(worker.offer.labels)) continue;
    if (model::first_shortage(demand.resources, worker.offer.resources)) continue;
    if (best != nullptr && worker.running >= best_running) continue;
    best = &index;
    best_running = worker.running;
  }
  return best;
}

std::vector<Placement> Scheduler::place() {
  std::vector<Placement> placements;
  if (open_.empty() || classes_.empty()) return placements;

  // Heads of all queues, the most urgent first. A kind of demand leaves once it fits nowhere.
  const auto later = [](const DemandClass* a, const DemandClass* b) {
    return *b->queue.begin() < *a->queue.begin();
  };
  std::vector<DemandClass*> heads;
  heads.reserve(classes_.size());
  for (const auto& [key, demand_class] : classes_) heads.push_back(demand_class.get());
  std::make_heap(heads.begin(), heads.end(), later);

  std::set<WorkerIndex> reserved;
  std::vector<DemandClass*> stuck;
  std::vector<DemandClass*> emptied;
  while (!heads.empty() && !open_.empty()) {
    std::pop_heap(heads.begin(), heads.end(), later);
    DemandClass* const demand_class = heads.back();
    heads.pop_back();
    const WorkerIndex* const found = best_worker(demand_class->demand, reserved);
    if (found == nullptr) {
      if (demand_class->passed_over >= kPatience) {
        const WorkerIndex* const keep = worker_to_reserve(demand_class->demand, reserved);
        if (keep != nullptr) reserved.insert(*keep);
      }
      stuck.push_back(demand_class);
      continue;
    }
    const WorkerIndex worker = *found;
    const model::TaskId task = demand_class->queue.begin()->task;
    demand_class->queue.erase(demand_class->queue.begin());
    demand_class->passed_over = 0;
    waiting_.erase(task);
    book(task, worker, demand_class->demand.resources);
    placements.push_back({task, worker});
    for (DemandClass* const other : stuck) ++other->passed_over;
    if (demand_class->queue.empty()) {
      emptied.push_back(demand_class);
    } else {
      heads.push_back(demand_class);
      std::push_heap(heads.begin(), heads.end(), later);
    }
  }
  for (const DemandClass* const done : emptied) {
    classes_.erase(ClassKey(done->demand.labels.wanted(), done->demand.resources));
  }
  return placements;
}

std::vector<std::string> Scheduler::reasons(model::TaskId task) const {
  const auto found = waiting_.find(task);
  if (found == waiting_.end()) return {};
  const Demand& demand = found->second->demand;
  if (workers_.empty()) return {"no worker has registered yet"};

  std::vector<std::string> reasons;
  const Worker* nearest = nullptr;
  std::size_t nearest_misses = 0;
  int with_labels = 0;
  int silent = 0;
  int disabled = 0;
  int busy = 0;
  std::string shortage_text;
  double smallest_gap = 0;
  for (const auto& [index, worker] : workers_) {
    const std::size_t misses = demand.labels.mismatch_count(worker.offer.labels);
    if (misses > 0) {
      if (nearest == nullptr || misses < nearest_misses) {
        nearest = &worker;
        nearest_misses = misses;
      }
      continue;
    }
    ++with_labels;
    if (worker.offer.silent) {
      ++silent;
      continue;
    }
    if (worker.offer.disabled) {
      ++disabled;
      continue;
    }
    const auto never = model::first_shortage(demand.resources, worker.offer.resources);
    if (never) {
      const double gap = never->wanted - never->available;
      if (shortage_text.empty() || gap < smallest_gap) {
        smallest_gap = gap;
        shortage_text = fmt::format("{} short by {} on {} (wants {}, it has {})", never->name, gap,
                                    worker.offer.name, never->wanted, never->available);
      }
      continue;
    }
    ++busy;
  }
  if (with_labels == 0) {
    const auto miss = demand.labels.first_mismatch(nearest->offer.labels);
    reasons.push_back(fmt::format(
        "no worker has label {}; nearest: {}, which has {}", label_text(miss->key, miss->wanted),
        nearest->offer.name,
        miss->offered ? label_text(miss->key, *miss->offered) : fmt::format("no '{}'", miss->key)));
    return reasons;
  }
  if (busy > 0) {
    reasons.push_back(fmt::format("{} of {} matching worker{} busy: waiting for free room", busy,
                                  with_labels, with_labels == 1 ? " is" : "s are"));
  }
  if (!shortage_text.empty()) reasons.push_back(std::move(shortage_text));
  if (disabled > 0) {
    reasons.push_back(
        fmt::format("{} matching worker{} paused", disabled, disabled == 1 ? " is" : "s are"));
  }
  if (silent > 0) {
    reasons.push_back(
        fmt::format("{} matching worker{} not connected", silent, silent == 1 ? " is" : "s are"));
  }
  return reasons;
}

}  // namespace cirrus::controller::scheduler
