// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/entity_ids.h"
#include "model/label_selector.h"
#include "model/resources.h"

namespace cirrus::controller::scheduler {

/// Names one worker for as long as the process lives.
using WorkerIndex = std::uint32_t;

/// What a worker offers. `accepts` is true only while an answer can reach it at once.
struct WorkerOffer {
  std::string name;  ///< for reasons
  model::Labels labels;
  model::Resources resources;
  bool accepts = false;   ///< a poll of it is parked
  bool disabled = false;  ///< paused, cordoned, or its pool is
  bool silent = false;    ///< not heard of for a while
};

/// What a task wants.
struct Demand {
  model::LabelSelector labels;
  model::Resources resources;
  int priority = 0;  ///< higher first
};

struct Placement {
  model::TaskId task;
  WorkerIndex worker = 0;
};

/// Decides who runs what. Rules, in order of precedence:
///   1. A worker takes only tasks all of whose labels it has.
///   2. Resource-less rule: a task without resources runs alone on its worker; a worker without
///      resources takes only such tasks.
///   3. Tasks with resources share a worker while the sums fit.
///   4. Higher priority first, then lower task id; but a task that fits nowhere lets others pass,
///      until it was passed over kPatience times: then the worker nearest to fitting it is kept
///      free for it.
///   5. Among workers that fit: the one with the fewest tasks, then the lowest index.
/// Source of 1-3: the reference service, as its users know it. Ours: 4 and 5.
class Scheduler {
 public:
  static constexpr int kPatience = 64;

  /// Adds or replaces a worker's offer. What runs on it stays booked.
  void set_worker(WorkerIndex worker, WorkerOffer offer);
  /// Cheap form for the two facts that change all the time.
  void set_accepts(WorkerIndex worker, bool accepts);
  void remove_worker(WorkerIndex worker);

  void add_task(model::TaskId task, const Demand& demand);
  /// Of a waiting task; nothing happens if it does not wait.
  void remove_task(model::TaskId task);
  bool is_waiting(model::TaskId task) const { return waiting_.contains(task); }

  /// Books a task that runs on a worker already (after a restart).
  void book(model::TaskId task, WorkerIndex worker, const model::Resources& resources);
  /// Ends the booking of a task; nothing happens if there is none.
  void release(model::TaskId task);

  /// Places all that can be placed now and books it. Cost: O(placements * log(tasks)) plus, for
  /// each kind of demand that fits nowhere, one look at every worker that accepts.
  std::vector<Placement> place();

  /// Why a task waits: sentences, the most useful first; empty if it does not wait.
  std::vector<std::string> reasons(model::TaskId task) const;

 private:
  struct Worker {
    WorkerOffer offer;
    model::Resources used;
    int running = 0;
    int running_alone = 0;  ///< tasks without resources
  };
  /// Oldest first, by priority.
  struct Place {
    int priority = 0;
    model::TaskId task;
    bool operator<(const Place& other) const {
      return priority != other.priority ? priority > other.priority : task < other.task;
    }
  };
  /// All waiting tasks with equal labels and resources.
  struct DemandClass {
    Demand demand;
    std::set<Place> queue;
    int passed_over = 0;
  };
  using ClassKey = std::pair<model::Labels, model::Resources>;

  bool open(const Worker& worker) const;
  static bool has_room(const Worker& worker, const model::Resources& resources);
  bool fits(const Worker& worker, const Demand& demand) const;
  /// 0: none.
  const WorkerIndex* best_worker(const Demand& demand, const std::set<WorkerIndex>& reserved) const;
  const WorkerIndex* worker_to_reserve(const Demand& demand,
                                       const std::set<WorkerIndex>& reserved) const;
  void refresh(WorkerIndex index);

  std::map<WorkerIndex, Worker> workers_;
  std::set<WorkerIndex> open_;  ///< workers that could take something right now
  std::map<ClassKey, std::unique_ptr<DemandClass>> classes_;
  std::unordered_map<model::TaskId, DemandClass*> waiting_;
  struct Booking {
    WorkerIndex worker = 0;
    model::Resources resources;
  };
  std::unordered_map<model::TaskId, Booking> booked_;
};

}  // namespace cirrus::controller::scheduler
