// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "model/entity_ids.h"
#include "model/isolation_kind.h"
#include "model/label_selector.h"
#include "model/resources.h"
#include "model/waiting_reason.h"

namespace cirrus::controller::scheduler {

/// Names one worker for as long as the process lives. Small numbers: they index a table.
using WorkerIndex = std::uint32_t;

/// An instance a worker keeps warm.
struct Standby {
  std::string isolation;  ///< compared as bytes; empty: none
  std::uint64_t age = 0;  ///< seconds, as the worker says
};

/// What a worker offers. It takes tasks only while `accepts` and none of the flags below is set.
struct WorkerOffer {
  std::string name;  ///< for reasons
  model::Labels labels;
  model::Resources resources;
  bool accepts = false;   ///< a poll of it is parked
  bool disabled = false;  ///< paused or cordoned
  bool silent = false;    ///< not heard of for a while
  bool draining = false;
  bool pool_paused = false;
  std::string pool;  ///< for reasons
  /// In which isolations tasks of untrusted builds may run there.
  model::IsolationSet untrusted = model::IsolationSet::any();
};

/// What a task wants.
struct Demand {
  model::LabelSelector labels;
  model::Resources resources;
  int priority = 0;                  ///< higher first
  std::string isolation;             ///< what a stand-by must equal; empty: any worker will do
  std::set<WorkerIndex> avoid = {};  ///< never these: they lost or refused it before
  /// Of a task of an untrusted build: what it runs in. Else absent: it may run anywhere.
  std::optional<model::IsolationKind> untrusted_in = {};
};

struct Placement {
  model::TaskId task;
  WorkerIndex worker = 0;
};

/// Decides who runs what. Rules, in order of precedence:
///   1. A worker takes only tasks all of whose labels it has, that do not avoid it, and, if they
///      are of untrusted builds, that run in an isolation its pool allows to those.
///   2. Resource-less rule: a task without resources runs alone on its worker; a worker without
///      resources takes only such tasks.
///   3. Tasks with resources share a worker while the sums fit.
///   4. Higher priority first, then lower task id; but a task that fits nowhere lets others pass,
///      until it was passed over kPatience times. Then one worker that could take it (the one with
///      the fewest tasks, then the lowest index) is kept free of less urgent tasks until the
///      waiting one is placed or that worker can no longer take it.
///   5. Among workers that fit: one whose stand-by equals the task's isolation, the oldest first;
///      then the one with the fewest tasks, then the lowest index.
/// Source of 1-3 and of the first half of 5: the reference service, as its users know it, and
/// protocol §5.6. Ours: what 1 says of trust, 4 and the rest of 5.
///
/// How it is fast: waiting tasks of equal demands form a class, and a class remembers the workers
/// that may fit. Room only shrinks until a worker *improves* (frees room, listens again, changes),
/// and only then is it shown to the classes whose labels it has. So a class that fits nowhere
/// costs nothing until a worker improved, and nothing is ever looked at twice for nothing.
class Scheduler {
 public:
  static constexpr int kPatience = 64;

  Scheduler();
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Adds or replaces a worker's offer. What runs on it stays booked, its stand-by stays known.
  void set_worker(WorkerIndex worker, WorkerOffer offer);
  /// Cheap form for the fact that changes all the time.
  void set_accepts(WorkerIndex worker, bool accepts);
  /// What the worker keeps warm now; forgotten when a task is placed on it.
  void set_standby(WorkerIndex worker, Standby standby);
  void remove_worker(WorkerIndex worker);

  void add_task(model::TaskId task, const Demand& demand);
  /// Of a waiting task; nothing happens if it does not wait.
  void remove_task(model::TaskId task);
  bool is_waiting(model::TaskId task) const { return waiting_.contains(task); }
  std::size_t waiting() const { return waiting_.size(); }

  /// Books a task that runs on a worker already (after a restart).
  void book(model::TaskId task, WorkerIndex worker, const model::Resources& resources);
  /// Whether the worker could run it if it were idle: connected, labels and totals fit.
  bool could_run(WorkerIndex worker, const Demand& demand) const;
  /// Ends the booking of a task; nothing happens if there is none.
  void release(model::TaskId task);

  /// Places all that can be placed now and books it; the most urgent first. Cost: O(classes +
  /// placements * log(workers)), plus O(workers) for the first tasks of a new kind.
  std::vector<Placement> place();

  /// Why a task waits, the most useful reason first; empty if it does not wait. O(workers), kept
  /// until something changes, so that asking for many tasks of one kind is cheap.
  const model::WaitingReasons& reasons(model::TaskId task) const;

 private:
  struct DemandClass;
  struct Selector;
  using ResourceId = std::uint32_t;
  struct Slot {
    ResourceId resource = 0;
    double total = 0;
    double used = 0;
  };
  struct Amount {
    ResourceId resource = 0;
    double amount = 0;
  };
  struct Worker {
    WorkerOffer offer;
    bool known = false;       ///< an offer was set
    std::vector<Slot> slots;  ///< by resource
    int running = 0;
    int running_alone = 0;    ///< tasks without resources
    std::uint32_t epoch = 0;  ///< grows when it improves
    Standby standby;
    std::uint32_t isolation = 0;       ///< of its stand-by, once a task wanted it; 0: none
    std::vector<Selector*> selectors;  ///< that it matches
    DemandClass* kept_for = nullptr;
    std::uint64_t kept_round = 0;  ///< the round in which the keeping came into force
    bool in_open = false;
    int open_running = 0;  ///< its key in open_
  };
  /// Oldest first, by priority.
  struct Place {
    int priority = 0;
    model::TaskId task;
    bool operator<(const Place& other) const {
      return priority != other.priority ? priority > other.priority : task < other.task;
    }
  };
  /// The order of rule 5.
  struct Rank {
    std::int64_t standby = 0;  ///< -1 - age if the stand-by fits, else 0
    int running = 0;
    WorkerIndex worker = 0;
    friend auto operator<=>(const Rank&, const Rank&) = default;
  };
  struct Candidate {
    Rank rank;
    std::uint32_t epoch = 0;
  };
  /// All waiting tasks whose labels are these.
  struct Selector {
    model::LabelSelector labels;
    std::unordered_set<WorkerIndex> workers;  ///< that match
    std::vector<DemandClass*> classes;
  };
  /// All waiting tasks with equal demands.
  struct DemandClass {
    Demand demand;
    std::vector<Amount> wants;    ///< by resource
    std::uint32_t isolation = 0;  ///< 0: none
    std::set<Place> queue;
    int passed_over = 0;
    std::optional<WorkerIndex> kept;    ///< the worker kept free for it
    std::uint64_t no_keep_at = 0;       ///< facts_ when no worker could be kept; 0: not tried
    bool built = false;                 ///< `candidates` holds every worker that may fit
    Selector* selector = nullptr;       ///< set once built
    std::vector<Candidate> candidates;  ///< a heap, the best on top; may hold outdated entries
    mutable std::uint64_t reasons_at = 0;
    mutable model::WaitingReasons reasons;
  };
  using ClassKey = std::tuple<model::Labels, model::Resources, std::string, std::set<WorkerIndex>,
                              std::optional<model::IsolationKind>>;
  struct Booking {
    WorkerIndex worker = 0;
    model::Resources resources;
  };

  Worker* find(WorkerIndex index) const;
  Worker& at(WorkerIndex index);
  ResourceId resource_id(const std::string& name);
  std::uint32_t isolation_id(const std::string& isolation);
  void use_isolation(Worker& worker, std::uint32_t isolation);
  static bool open(const Worker& worker);
  static bool has_room(const Worker& worker, const std::vector<Amount>& wants);
  static bool capable(const Worker& worker, const Demand& demand);
  static bool admits(const Worker& worker, const Demand& demand);
  static ClassKey key_of(const Demand& demand);
  static Rank rank(const Worker& worker, WorkerIndex index, const DemandClass& demand_class);
  void refresh(WorkerIndex index, Worker& worker);
  void improve(WorkerIndex index, Worker& worker);
  void offer_to(DemandClass& demand_class, WorkerIndex index, const Worker& worker);
  void relabel(WorkerIndex index, Worker& worker, const model::Labels& before);
  Selector& selector_for(const model::LabelSelector& labels);
  void forget_unused_selectors();
  void build(DemandClass& demand_class);
  bool kept_from(const Worker& worker, const DemandClass& demand_class) const;
  std::optional<WorkerIndex> best_worker(DemandClass& demand_class);
  void keep_one(DemandClass& demand_class);
  void end_keeping(DemandClass& demand_class);
  void erase(DemandClass& demand_class);
  model::WaitingReasons explain(const DemandClass& demand_class) const;

  std::vector<std::unique_ptr<Worker>> workers_;
  std::set<std::pair<int, WorkerIndex>> open_;  ///< by (tasks, index): what could take something
  std::unordered_map<std::string, ResourceId> resource_ids_;
  std::unordered_map<std::string, std::uint32_t> isolation_ids_;
  std::unordered_map<std::uint32_t, int> standbys_;  ///< workers per isolation
  std::map<model::Labels, std::unique_ptr<Selector>> selectors_;
  std::unordered_map<std::string, std::unordered_set<WorkerIndex>> workers_by_label_;
  std::unordered_map<std::string, std::vector<Selector*>> selectors_by_label_;  ///< by their first
  std::vector<Selector*> selectors_of_all_;  ///< those that demand nothing: at most one
  std::size_t unused_selectors_ = 0;
  std::map<ClassKey, std::unique_ptr<DemandClass>> classes_;
  std::unordered_map<model::TaskId, std::pair<DemandClass*, Place>> waiting_;
  std::unordered_set<DemandClass*> hot_;       ///< not built, or with candidates
  std::unordered_set<DemandClass*> starving_;  ///< out of patience
  std::unordered_map<model::TaskId, Booking> booked_;
  std::vector<std::pair<DemandClass*, Candidate>> aside_;  ///< kept from a class for this round
  std::uint64_t round_ = 0;
  std::uint64_t facts_ = 1;    ///< grows when a worker's ability to ever run something changes
  std::uint64_t changes_ = 1;  ///< grows with every change
  model::WaitingReasons nothing_;
};

}  // namespace cirrus::controller::scheduler
