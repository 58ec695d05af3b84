// SPDX-License-Identifier: MIT
#include "controller/scheduler/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace cirrus::controller::scheduler {

namespace {
/// Of selectors no task waits with; they are kept because the same kinds of tasks come again.
constexpr std::size_t kUnusedSelectors = 256;

/// The amounts within this much of each other count as equal, as in model/resources.h.
constexpr double kSame = 1e-9;

std::string label_key(const std::string& key, const std::string& value) {
  std::string text = key;
  text.push_back('\0');
  return text + value;
}
}  // namespace

Scheduler::Scheduler() = default;
Scheduler::~Scheduler() = default;

Scheduler::Worker* Scheduler::find(WorkerIndex index) const {
  return index < workers_.size() ? workers_[index].get() : nullptr;
}

Scheduler::Worker& Scheduler::at(WorkerIndex index) {
  if (index >= workers_.size()) workers_.resize(index + std::size_t{1});
  if (!workers_[index]) workers_[index] = std::make_unique<Worker>();
  return *workers_[index];
}

Scheduler::ResourceId Scheduler::resource_id(const std::string& name) {
  return resource_ids_.try_emplace(name, static_cast<ResourceId>(resource_ids_.size()))
      .first->second;
}

std::uint32_t Scheduler::isolation_id(const std::string& isolation) {
  if (isolation.empty()) return 0;
  const auto [found, added] =
      isolation_ids_.try_emplace(isolation, static_cast<std::uint32_t>(isolation_ids_.size() + 1));
  if (!added) return found->second;
  // Only what tasks want gets a number, or workers could fill the table.
  for (const std::unique_ptr<Worker>& worker : workers_) {
    if (worker && worker->standby.isolation == isolation) use_isolation(*worker, found->second);
  }
  return found->second;
}

void Scheduler::use_isolation(Worker& worker, std::uint32_t isolation) {
  if (worker.isolation != 0 && --standbys_[worker.isolation] == 0) {
    standbys_.erase(worker.isolation);
  }
  worker.isolation = isolation;
  if (isolation != 0) ++standbys_[isolation];
}

bool Scheduler::open(const Worker& worker) {
  const WorkerOffer& offer = worker.offer;
  if (!offer.accepts || offer.disabled || offer.silent || offer.draining || offer.pool_paused) {
    return false;
  }
  if (worker.running_alone > 0) return false;
  return !offer.resources.empty() || worker.running == 0;
}

bool Scheduler::has_room(const Worker& worker, const std::vector<Amount>& wants) {
  if (wants.empty()) return worker.running == 0;
  if (worker.running_alone > 0) return false;
  auto slot = worker.slots.begin();
  for (const Amount& want : wants) {
    while (slot != worker.slots.end() && slot->resource < want.resource) ++slot;
    const bool there = slot != worker.slots.end() && slot->resource == want.resource;
    if (want.amount > (there ? slot->total - slot->used : 0) + kSame) return false;
  }
  return true;
}

bool Scheduler::admits(const Worker& worker, const Demand& demand) {
  return !demand.untrusted_in || worker.offer.untrusted.allows(*demand.untrusted_in);
}

Scheduler::ClassKey Scheduler::key_of(const Demand& demand) {
  return {demand.labels.wanted(), demand.resources, demand.isolation, demand.avoid,
          demand.untrusted_in};
}

bool Scheduler::could_run(WorkerIndex index, const Demand& demand) const {
  const Worker* const worker = find(index);
  return worker != nullptr && worker->known && !demand.avoid.contains(index) &&
         capable(*worker, demand);
}

bool Scheduler::capable(const Worker& worker, const Demand& demand) {
  const WorkerOffer& offer = worker.offer;
  if (offer.disabled || offer.silent || offer.draining || offer.pool_paused) return false;
  return admits(worker, demand) && !demand.labels.first_mismatch(offer.labels) &&
         !model::first_shortage(demand.resources, offer.resources);
}

Scheduler::Rank Scheduler::rank(const Worker& worker, WorkerIndex index,
                                const DemandClass& demand_class) {
  const bool warm = demand_class.isolation != 0 && worker.isolation == demand_class.isolation;
  return {warm ? -1 - static_cast<std::int64_t>(worker.standby.age) : 0, worker.running, index};
}

void Scheduler::refresh(WorkerIndex index, Worker& worker) {
  ++changes_;
  const bool now = worker.known && open(worker);
  if (worker.in_open && (!now || worker.open_running != worker.running)) {
    open_.erase({worker.open_running, index});
    worker.in_open = false;
  }
  if (now && !worker.in_open) {
    open_.emplace(worker.running, index);
    worker.open_running = worker.running;
    worker.in_open = true;
  }
}

void Scheduler::offer_to(DemandClass& demand_class, WorkerIndex index, const Worker& worker) {
  if (!worker.in_open || !has_room(worker, demand_class.wants)) return;
  if (demand_class.demand.avoid.contains(index)) return;
  if (!admits(worker, demand_class.demand)) return;
  std::vector<Candidate>& heap = demand_class.candidates;
  const auto worse = [](const Candidate& a, const Candidate& b) { return b.rank < a.rank; };
  if (heap.size() > 64 + 2 * demand_class.selector->workers.size()) {
    std::erase_if(heap, [&](const Candidate& entry) {
      const Worker* const known = find(entry.rank.worker);
      return known == nullptr || known->epoch != entry.epoch;
    });
    std::make_heap(heap.begin(), heap.end(), worse);
  }
  heap.push_back({rank(worker, index, demand_class), worker.epoch});
  std::push_heap(heap.begin(), heap.end(), worse);
  hot_.insert(&demand_class);
}

void Scheduler::improve(WorkerIndex index, Worker& worker) {
  ++worker.epoch;
  refresh(index, worker);
  if (!worker.in_open) return;
  for (Selector* const selector : worker.selectors) {
    for (DemandClass* const demand_class : selector->classes) {
      offer_to(*demand_class, index, worker);
    }
  }
}

void Scheduler::relabel(WorkerIndex index, Worker& worker, const model::Labels& before) {
  for (const auto& [key, value] : before) {
    const auto found = workers_by_label_.find(label_key(key, value));
    if (found == workers_by_label_.end()) continue;
    found->second.erase(index);
    if (found->second.empty()) workers_by_label_.erase(found);
  }
  for (Selector* const selector : worker.selectors) selector->workers.erase(index);
  worker.selectors.clear();
  const auto join = [&](Selector* selector) {
    if (selector->labels.first_mismatch(worker.offer.labels)) return;
    if (selector->workers.insert(index).second) worker.selectors.push_back(selector);
  };
  for (Selector* const selector : selectors_of_all_) join(selector);
  for (const auto& [key, value] : worker.offer.labels) {
    const std::string text = label_key(key, value);
    workers_by_label_[text].insert(index);
    const auto found = selectors_by_label_.find(text);
    if (found == selectors_by_label_.end()) continue;
    for (Selector* const selector : found->second) join(selector);
  }
}

void Scheduler::set_worker(WorkerIndex index, WorkerOffer offer) {
  Worker& worker = at(index);
  const bool fresh = !worker.known;
  const model::Labels before = std::move(worker.offer.labels);
  const bool same_resources = worker.offer.resources == offer.resources;
  worker.offer = std::move(offer);
  worker.known = true;
  if (fresh || before != worker.offer.labels) relabel(index, worker, before);
  if (fresh || !same_resources) {
    for (Slot& slot : worker.slots) slot.total = 0;
    for (const auto& [name, amount] : worker.offer.resources) {
      const ResourceId id = resource_id(name);
      const auto place = std::lower_bound(
          worker.slots.begin(), worker.slots.end(), id,
          [](const Slot& slot, ResourceId wanted) { return slot.resource < wanted; });
      if (place != worker.slots.end() && place->resource == id) {
        place->total = amount;
      } else {
        worker.slots.insert(place, {id, amount, 0});
      }
    }
  }
  ++facts_;
  improve(index, worker);
}

void Scheduler::set_accepts(WorkerIndex index, bool accepts) {
  Worker* const worker = find(index);
  if (worker == nullptr || !worker->known || worker->offer.accepts == accepts) return;
  worker->offer.accepts = accepts;
  if (accepts) {
    improve(index, *worker);
  } else {
    refresh(index, *worker);
  }
}

void Scheduler::set_standby(WorkerIndex index, Standby standby) {
  Worker& worker = at(index);
  if (worker.standby.isolation == standby.isolation && worker.standby.age == standby.age) return;
  worker.standby = std::move(standby);
  const auto wanted = isolation_ids_.find(worker.standby.isolation);
  use_isolation(worker, wanted == isolation_ids_.end() ? 0 : wanted->second);
  improve(index, worker);
}

void Scheduler::remove_worker(WorkerIndex index) {
  Worker* const worker = find(index);
  if (worker == nullptr) return;
  set_standby(index, {});
  if (worker->kept_for != nullptr) end_keeping(*worker->kept_for);
  worker->known = false;
  refresh(index, *worker);
  const model::Labels before = std::exchange(worker->offer.labels, {});
  for (Selector* const selector : worker->selectors) selector->workers.erase(index);
  worker->selectors.clear();
  for (const auto& [key, value] : before) workers_by_label_[label_key(key, value)].erase(index);
  workers_[index].reset();
  ++facts_;
}

void Scheduler::add_task(model::TaskId task, const Demand& demand) {
  ++changes_;
  std::unique_ptr<DemandClass>& entry = classes_[key_of(demand)];
  if (!entry) {
    entry = std::make_unique<DemandClass>();
    entry->demand = demand;
    for (const auto& [name, amount] : demand.resources) {
      entry->wants.push_back({resource_id(name), amount});
    }
    std::sort(entry->wants.begin(), entry->wants.end(),
              [](const Amount& a, const Amount& b) { return a.resource < b.resource; });
    entry->isolation = isolation_id(demand.isolation);
    hot_.insert(entry.get());
  }
  const Place place{demand.priority, task};
  const bool added = waiting_.try_emplace(task, entry.get(), place).second;
  CIRRUS_CHECK(added, "a task waits once");
  entry->queue.insert(place);
}

void Scheduler::remove_task(model::TaskId task) {
  const auto found = waiting_.find(task);
  if (found == waiting_.end()) return;
  ++changes_;
  const auto [demand_class, place] = found->second;
  waiting_.erase(found);
  demand_class->queue.erase(place);
  if (demand_class->queue.empty()) erase(*demand_class);
}

void Scheduler::erase(DemandClass& demand_class) {
  end_keeping(demand_class);
  hot_.erase(&demand_class);
  starving_.erase(&demand_class);
  if (Selector* const selector = demand_class.selector; selector != nullptr) {
    std::erase(selector->classes, &demand_class);
    if (selector->classes.empty()) ++unused_selectors_;
  }
  classes_.erase(key_of(demand_class.demand));
  if (unused_selectors_ > kUnusedSelectors) forget_unused_selectors();
}

Scheduler::Selector& Scheduler::selector_for(const model::LabelSelector& labels) {
  std::unique_ptr<Selector>& entry = selectors_[labels.wanted()];
  if (entry) {
    if (entry->classes.empty()) --unused_selectors_;
    return *entry;
  }
  entry = std::make_unique<Selector>();
  Selector& made = *entry;
  made.labels = labels;
  const auto join = [&](WorkerIndex index) {
    Worker& worker = *workers_[index];
    if (made.labels.first_mismatch(worker.offer.labels)) return;
    made.workers.insert(index);
    worker.selectors.push_back(&made);
  };
  if (labels.wanted().empty()) {
    selectors_of_all_.push_back(&made);
    for (WorkerIndex index = 0; index < workers_.size(); ++index) {
      if (workers_[index] && workers_[index]->known) join(index);
    }
    return made;
  }
  const auto& [first_key, first_value] = *labels.wanted().begin();
  selectors_by_label_[label_key(first_key, first_value)].push_back(&made);
  // Through the rarest label, so that a label nobody has costs nothing.
  const std::unordered_set<WorkerIndex>* rarest = nullptr;
  for (const auto& [key, value] : labels.wanted()) {
    const auto found = workers_by_label_.find(label_key(key, value));
    if (found == workers_by_label_.end()) return made;
    if (rarest == nullptr || found->second.size() < rarest->size()) rarest = &found->second;
  }
  for (const WorkerIndex index : *rarest) join(index);
  return made;
}

void Scheduler::forget_unused_selectors() {
  unused_selectors_ = 0;
  for (auto entry = selectors_.begin(); entry != selectors_.end();) {
    Selector* const selector = entry->second.get();
    if (!selector->classes.empty()) {
      ++entry;
      continue;
    }
    for (const WorkerIndex index : selector->workers) {
      std::erase(workers_[index]->selectors, selector);
    }
    if (entry->first.empty()) {
      std::erase(selectors_of_all_, selector);
    } else {
      const auto& [key, value] = *entry->first.begin();
      const auto listed = selectors_by_label_.find(label_key(key, value));
      std::erase(listed->second, selector);
      if (listed->second.empty()) selectors_by_label_.erase(listed);
    }
    entry = selectors_.erase(entry);
  }
}

void Scheduler::build(DemandClass& demand_class) {
  demand_class.built = true;
  demand_class.selector = &selector_for(demand_class.demand.labels);
  demand_class.selector->classes.push_back(&demand_class);
  for (const WorkerIndex index : demand_class.selector->workers) {
    offer_to(demand_class, index, *workers_[index]);
  }
}

void Scheduler::book(model::TaskId task, WorkerIndex index, const model::Resources& resources) {
  if (!booked_.try_emplace(task, Booking{index, resources}).second) return;
  Worker& host = at(index);
  ++host.running;
  if (resources.empty()) ++host.running_alone;
  for (const auto& [name, amount] : resources) {
    const ResourceId id = resource_id(name);
    const auto place = std::lower_bound(
        host.slots.begin(), host.slots.end(), id,
        [](const Slot& slot, ResourceId wanted) { return slot.resource < wanted; });
    if (place != host.slots.end() && place->resource == id) {
      place->used += amount;
    } else {
      host.slots.insert(place, {id, 0, amount});
    }
  }
  refresh(index, host);
}

void Scheduler::release(model::TaskId task) {
  const auto found = booked_.find(task);
  if (found == booked_.end()) return;
  const Booking booking = std::move(found->second);
  booked_.erase(found);
  Worker* const host = find(booking.worker);
  if (host == nullptr) return;
  --host->running;
  if (booking.resources.empty()) --host->running_alone;
  for (const auto& [name, amount] : booking.resources) {
    const ResourceId id = resource_id(name);
    for (Slot& slot : host->slots) {
      if (slot.resource == id) slot.used = std::max(0.0, slot.used - amount);
    }
  }
  if (host->running == 0) {
    for (Slot& slot : host->slots) slot.used = 0;  // forget rounding
  }
  improve(booking.worker, *host);
}

}  // namespace cirrus::controller::scheduler
