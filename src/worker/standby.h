// SPDX-License-Identifier: MIT
// Standby: instances that run before any task asks for them, so that a task which asks for exactly
// that starts at once.
//
//   wanted --made beside polling--> ready --assign--> assigned --claim--> the task's own
//                                     |--replaced, not wanted any more, in the way--> ended
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/guarded.h"
#include "cirrus_workers.pb.h"
#include "isolation/isolation.h"
#include "worker/vm_settings.h"
#include "worker/worker_facts.h"

namespace cirrus::worker {

/// A running instance whose agent waits for its bootstrap.
struct StandbySlot {
  std::string name;
  /// Holds the directory of the gateway's socket that the instance was made with.
  std::filesystem::path run_directory;
  std::string task_cookie;
  std::unique_ptr<isolation::Instance> instance;
};

/// What the worker brings. Callbacks may take the worker's lock; they are never called under ours.
struct StandbyParts {
  std::filesystem::path run_directory;
  std::filesystem::path agent_program;
  os::Environment agent_environment;
  std::function<isolation::Isolation*(const isolation::IsolationSpec&)> isolation_for;
  /// The owner's policy: refuses, or answers the isolation as it is to be carried out.
  std::function<Result<isolation::IsolationSpec>(const isolation::IsolationSpec&)> allowed;
  /// For LaunchRequest; null: nothing.
  std::function<std::vector<std::string>()> softnet_allow;
  /// Whether what is booked here fits beside the worker's tasks. `single`: of the form that stands
  /// by only while nothing runs.
  std::function<bool(const std::map<std::string, double>& booked, bool single)> fits;
  /// Amounts became free, or an instance became ready.
  std::function<void()> on_released;
};

/// Thread-safe. One thread of its own makes, looks after and ends the instances; the destructor
/// ends them all.
class Standby {
 public:
  using Parameters = org::cirruslabs::ci::services::cirruscigrpc::StandbyInstanceParameters;
  using Information = org::cirruslabs::ci::services::cirruscigrpc::StandbyInstanceInformation;

  explicit Standby(StandbyParts parts);

  /// What is wanted from now on; what runs for nothing that is wanted ends. `single`: any other
  /// task ends it. Source: the product's document, Standby VM.
  void configure(std::vector<StandbySettings> wanted, bool single);
  /// The server's word on it. Parameters this worker could not carry out are left out.
  void update(const google::protobuf::RepeatedPtrField<Parameters>& parameters);
  /// Ends everything and makes nothing any more.
  void drain();

  /// A task was assigned: the slot that equals what it asks for is kept for it. Otherwise, in the
  /// single form, what stands by ends. `spec` null: the task wants nothing that could match.
  void assign(const std::string& task_id, const isolation::IsolationSpec* spec);
  /// For a task that was assigned and waits for room: what became ready since is kept for it if it
  /// equals what it asks for. True if something is kept for it.
  bool assign_late(const std::string& task_id, const isolation::IsolationSpec* spec);
  /// The slot kept for the task, once.
  std::optional<StandbySlot> claim(const std::string& task_id);
  /// The task will not claim any more.
  void forget(const std::string& task_id);
  /// A task waits for these amounts: what stands by and holds some of them ends.
  void make_room(const std::map<std::string, double>& needed);
  /// Something changed in the worker: look again whether there is room.
  void look_again();

  /// Amounts that are held for instances which no task has: also for those being made or ended.
  std::map<std::string, double> booked() const;
  /// For the poll: what is ready, and since when.
  std::vector<Information> information() const;
  StandbyFacts facts() const;

 private:
  struct Slot {
    std::shared_ptr<const StandbySettings> settings;
    StandbySlot slot;
    Monotonic since{};
  };
  struct State {
    std::vector<std::shared_ptr<const StandbySettings>> wanted;
    bool single = false;
    std::list<Slot> ready;
    std::list<Slot> ending;
    std::map<std::string, Slot> assigned;
    /// Being made or ended by the thread right now.
    std::map<std::string, double> in_work;
    std::size_t warming = 0;
    bool look = true;  // something may be due
    InstanceCounts hits;
    InstanceCounts misses;
  };

  void run(const StopToken& stop);
  void end_all_due();
  void end_all(std::list<Slot> due);
  void drop_dead();
  bool make_one(const StopToken& stop);
  Result<Slot> launch(std::shared_ptr<const StandbySettings> settings, const StopToken& stop);
  static Status warm_up(isolation::Instance& instance, const StandbySettings& settings,
                        const StopToken& stop);
  static void end(Slot& slot);
  static std::shared_ptr<const StandbySettings> missing(const State& state);
  static std::map<std::string, double> sum(const State& state);
  static bool keep_for(State& state, const std::string& task_id,
                       const isolation::IsolationSpec* spec);

  const StandbyParts parts_;
  Guarded<State> state_;
  Backoff backoff_{std::chrono::seconds(5), std::chrono::minutes(5)};  // the thread's
  std::optional<Monotonic> retry_at_;                                  // the thread's
  Thread thread_;  // last: uses everything above
};

}  // namespace cirrus::worker
