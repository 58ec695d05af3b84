// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/secret.h"
#include "controller/core/calls.h"
#include "controller/core/refusal_limiter.h"
#include "controller/core/session_token.h"
#include "controller/core/statistics.h"
#include "controller/core/task_messages.h"
#include "controller/core/task_spec.h"
#include "controller/core/views.h"
#include "controller/scheduler/scheduler.h"
#include "controller/store/store.h"

namespace cirrus::controller::core {

/// Constants of the life of workers and tasks. Source: protocol §5.5, §17; where it leaves room,
/// DESIGN's figures.
struct Timing {
  std::chrono::seconds hold{25};            ///< polls of our workers
  std::chrono::seconds hold_reference{20};  ///< polls of reference workers
  std::chrono::seconds silent_after{60};    ///< a worker's tasks are shown as unreachable
  std::chrono::seconds instance_lease{60};  ///< how long a name belongs to its last instance
  std::chrono::milliseconds doubt{2000};    ///< before a task missing from a list is given up
  std::chrono::milliseconds stop_repeat{2000};
  std::chrono::seconds agent_silent_after{200};
  std::chrono::seconds deadline_margin{360};  ///< 5 min for ALWAYS steps and a minute of grace
  /// Past a task's deadline: then a cut-off agent has ended itself. Source: DESIGN's figure.
  std::chrono::seconds orphan_margin{900};
  int max_attempts = 3;  ///< in a row that may be lost; one that fails by itself is the last
  std::size_t finished_builds_kept = 100;  ///< in memory; older ones are read from the store
};

struct StateOptions {
  Timing timing;
  std::string http_url;                      ///< base of the git endpoint
  std::function<std::string()> make_secret;  ///< 256 random bits as text
  OpenSecrets open_secrets;                  ///< for the variables of tasks; may be empty
  /// Looks an attempt up that is no longer in memory; the core takes it from the store.
  std::function<Result<std::optional<store::TaskRecord>>(model::TaskId)> find_task;
};

/// Everything the controller knows, and every legal change of it. Used by one thread. Effects
/// (answers, wakes) are collected and let out by the caller after the changes are durable.
class State {
 public:
  /// Runs after the commit; told why if the commit failed.
  using Effect = std::function<void(const Error* failure)>;

  State(StateOptions options, store::Loaded loaded, Moment moment);

  /// Answers after the commit; for edges that look at the state in a command of their own.
  template <typename T>
  void answer(Reply<T> reply, Result<T> result) {
    effects_.push_back(
        [reply = std::move(reply), result = std::move(result)](const Error* failure) mutable {
          // Runs once, so the result may be moved on.
          reply(failure != nullptr ? Result<T>(*failure) : std::move(result));
        });
  }

  /// Answers at once: for what promises nothing, because losing it is mended by itself (a running
  /// task is repeated in its worker's list) or because it changed nothing.
  template <typename T>
  void hint(Reply<T> reply, Result<T> result) {
    hints_.push_back([reply = std::move(reply), result = std::move(result)](const Error*) mutable {
      reply(std::move(result));
    });
  }

  // Workers (state_workers.cc).
  void register_worker(const RegisterCall& call, Reply<std::string> reply, Moment moment);
  /// Parks the poll; answered when there is work, a stop order, a newer poll, or its time is over.
  void poll(PollCall call, Reply<api::PollResponse> reply, Moment moment);
  /// The client of the poll with this number went away (0: of whatever is parked).
  void poll_cancelled(const WorkerCredential& credential, std::uint64_t ticket);
  /// Identifies the parked poll made by the last call of `poll`.
  std::uint64_t last_ticket() const { return next_ticket_; }
  void update_status(const WorkerCredential& credential, bool disabled, Reply<bool> reply,
                     Moment moment);
  struct RunningTasks {
    bool disabled = false;
    std::vector<model::TaskId> tasks;
  };
  void query_running(const WorkerCredential& credential, Reply<RunningTasks> reply, Moment moment);
  void task_started(const WorkerCredential& worker, const TaskCredential& task, Reply<void> reply,
                    Moment moment);
  void task_failed(const WorkerCredential& worker, const TaskCredential& task,
                   const std::string& message, Reply<void> reply, Moment moment);
  void task_stopped(const WorkerCredential& worker, const TaskCredential& task, Reply<void> reply,
                    Moment moment);

  // Agents (state_tasks.cc).
  void initial_commands(const TaskCredential& task, Reply<api::CommandsResponse> reply,
                        Moment moment);
  void step_updates(const TaskCredential& task, const std::vector<StepUpdate>& updates,
                    Reply<void> reply, Moment moment);
  void agent_finished(const TaskCredential& task, const std::vector<StepUpdate>& results,
                      Reply<void> reply, Moment moment);
  void heartbeat(const TaskCredential& task, Reply<void> reply, Moment moment);
  void agent_problem(const TaskCredential& task, const std::string& message, Reply<void> reply,
                     Moment moment);
  void log_permit(const TaskCredential& task, const std::string& step, Reply<LogPermit> reply,
                  Moment moment);
  /// Only for a task that runs: caches and artifacts are not for anybody after its end.
  void blob_permit(const TaskCredential& task, Reply<BlobPermit> reply, Moment moment);
  bool is_clone_token(const std::string& token) const { return clone_tokens_.contains(token); }
  /// The repository whose running task has this clone token.
  void clone_permit(const std::string& token, Reply<std::string> reply);

  // Builds (state_builds.cc).
  void submit(NewBuild build, Reply<model::BuildId> reply, Moment moment);
  void cancel_build(model::BuildId id, const Actor& actor, Reply<void> reply, Moment moment);
  void cancel_task(model::TaskId id, const Actor& actor, Reply<void> reply, Moment moment);
  void rerun_task(model::TaskId id, const Actor& actor, Reply<model::TaskId> reply, Moment moment,
                  RerunWish wish = {});
  /// New attempts of all tasks of the build that failed or were aborted, and another chance for
  /// what was skipped because of them. Answers their ids. Errors: FailedPrecondition if there is
  /// none, or if one of them still runs.
  void rerun_build(model::BuildId id, const Actor& actor, Reply<std::vector<model::TaskId>> reply,
                   Moment moment);
  /// Takes a build that has left memory back from the store, so that it can go on.
  void adopt_build(store::BuildRows rows, Moment moment);
  void trigger_task(model::TaskId id, const Actor& actor, Reply<void> reply, Moment moment);

  // Shells (state_shells.cc).
  struct ShellPlace {
    std::string worker;  ///< `pool/worker`, for agents of ours
    std::string absent;  ///< a sentence, for when neither it nor a terminal of the agent is there
    bool recorded = false;  ///< its pool wants to keep what the shell shows
  };
  /// Where a shell in this task has to be ordered. Audited. Errors: NotFound; FailedPrecondition
  /// if it does not run.
  void order_shell(model::TaskId id, const Actor& actor, Reply<ShellPlace> reply, Moment moment);
  /// For what a worker that listens for shells may listen: itself, `pool/worker`.
  void listen_for_shells(const WorkerCredential& credential, Reply<std::string> reply,
                         Moment moment);

  // Removal (state_removal.cc).
  using Removed = std::vector<store::RemovedBuildRecord>;
  /// Removes finished builds, as the store offered them, and answers those that went: one that
  /// goes on by now stays. Audited once for all.
  void remove_builds(Removed builds, const Actor& actor, Reply<Removed> reply, Moment moment);
  /// The bytes of these builds' tasks are gone, too.
  void builds_swept(Removed builds, Reply<void> reply);

  // Administration (state_admin.cc).
  /// `peer`: the address the token came from. Errors: Unauthenticated; ResourceExhausted if that
  /// address sends too many wrong ones.
  void authorize(const std::string& api_token, const std::string& peer, Reply<ApiIdentity> reply,
                 Moment moment);
  struct NewToken {
    std::string id;
    std::string token;
  };
  /// What may be set of a pool; what is absent stays, or is the default in a new one.
  struct PoolSettings {
    std::optional<std::chrono::milliseconds> lost_after;
    std::optional<bool> paused;
    std::optional<bool> hold_reference_polls;
    std::optional<model::IsolationSet> untrusted_isolations = {};
    std::optional<bool> record_shells = {};
  };
  /// Errors: AlreadyExists, InvalidArgument.
  void create_pool(const std::string& name, const PoolSettings& settings, const Actor& actor,
                   Reply<void> reply, Moment moment);
  /// Errors: NotFound, InvalidArgument.
  void change_pool(const std::string& name, const PoolSettings& settings, const Actor& actor,
                   Reply<void> reply, Moment moment);
  struct RegistrationTokenRequest {
    std::string pool;
    /// How long the other live tokens of the pool stay good; absent: for ever.
    std::optional<std::chrono::seconds> overlap;
    std::string note;
    std::string worker_names;  ///< as in RegistrationTokenRecord
  };
  /// Errors: NotFound, InvalidArgument.
  void create_registration_token(const RegistrationTokenRequest& request, const Actor& actor,
                                 Reply<NewToken> reply, Moment moment);
  void revoke_registration_token(const std::string& id, const Actor& actor, Reply<void> reply,
                                 Moment moment);
  /// The first `most` of those made after `after`; `pool`: only of that one, empty: of all. Errors:
  /// NotFound (no such pool).
  Result<RegistrationTokenViews> view_registration_tokens(const std::string& pool,
                                                          const TokenPlace& after,
                                                          std::size_t most) const;
  struct ApiTokenRequest {
    std::string name;
    Role role = Role::Reader;
    std::vector<std::string> repositories;  ///< patterns; a submitter's must name some
    std::optional<bool> trusted;            ///< absent: operators and administrators are
  };
  /// Errors: InvalidArgument, AlreadyExists (a live token has that name).
  void create_api_token(const ApiTokenRequest& request, const Actor& actor, Reply<NewToken> reply,
                        Moment moment);
  /// By id. Errors: NotFound; FailedPrecondition for the last live token of an administrator.
  void revoke_api_token(const std::string& id, const Actor& actor, Reply<void> reply,
                        Moment moment);
  /// The first `most` of those made after `after`.
  ApiTokenViews view_api_tokens(const TokenPlace& after, std::size_t most) const;
  /// `name`, or `name-2`, ... : the first that no live API token has.
  std::string free_token_name(const std::string& name) const;
  void set_worker_disabled(const std::string& pool, const std::string& name, bool disabled,
                           const Actor& actor, Reply<void> reply, Moment moment);
  void audit(const std::string& actor, const std::string& action, const std::string& subject,
             Moment moment);
  /// Answers once something was written: whether the store takes changes now. Cost: a transaction.
  void prove_store(Reply<void> reply, Moment moment);

  // Views (state_views.cc). Builds no longer in memory are NotFound: read them from the store.
  Result<BuildView> view_build(model::BuildId id) const;
  Result<TaskView> view_task(model::TaskId id) const;
  std::vector<WorkerView> view_workers(Moment moment) const;
  /// The first `most` of those whose names are behind `after`, by name.
  std::vector<PoolView> view_pools(
      const std::string& after = "",
      std::size_t most = std::numeric_limits<std::size_t>::max()) const;
  Result<PoolView> view_pool(const std::string& name) const;
  /// Cost: one look at every task in memory (state_statistics.cc).
  Statistics statistics(Moment moment) const;
  /// Turns stored rows into the same view.
  static BuildView view_of_rows(const store::BuildRows& rows);
  using BuildWatcher = std::function<void()>;
  void watch_build(model::BuildId id, std::weak_ptr<BuildWatcher> watcher);

  // Time (state_timers.cc).
  /// Places waiting tasks, answers polls whose time is over, and judges silence and deadlines.
  /// To be called once per batch, and at `next_wake` at the latest.
  void settle(Moment moment);
  std::chrono::milliseconds next_wake(Moment moment) const;
  /// Answers every parked poll: the controller goes down.
  void release_polls(Moment moment);

  /// What has to be committed before the effects go out. Each empties what it takes.
  store::Changes take_changes();
  std::vector<Effect> take_effects();
  /// What may go out at once.
  std::vector<Effect> take_hints();
  /// Whether there is something that must be durable before the effects go out...
  bool has_heavy_changes() const;
  /// ...or only what may wait a while for company (and is then part of `take_changes`).
  bool has_light_changes() const { return !light_tasks_.empty() || !light_steps_.empty(); }
  /// Every effect and parked answer, for when the store failed.
  std::vector<Effect> abandon();

 private:
  struct Build;
  struct Task {
    store::TaskRecord record;
    std::shared_ptr<const TaskSpec> spec;
    std::vector<store::StepRecord> steps;
    Build* build = nullptr;
    std::shared_ptr<AttemptGate> gate = std::make_shared<AttemptGate>();
    std::optional<Monotonic> ready_at;  ///< since when it waits for a worker
    Monotonic deadline{};               ///< of an executing task
    Monotonic last_heard{};             ///< from its agent
    bool agent_heard = false;           ///< ever, since the controller started
    bool maybe_ran = false;  ///< its agent was heard of, or may have been before a restart
    bool unreachable = false;
    bool confirmed = false;  ///< its worker is known to have got it
    int missing_polls = 0;   ///< lists in a row that lacked it
    Monotonic first_missing{};
    bool stop_wanted = false;
    std::optional<Monotonic> stop_sent;
  };
  struct Node {
    store::DefinitionRecord definition;
    std::shared_ptr<const TaskSpec> spec;
    std::vector<model::TaskId> attempts;  ///< the last one counts
  };
  struct Build {
    store::BuildRecord record;
    std::map<int, Node> nodes;
    std::vector<std::weak_ptr<BuildWatcher>> watchers;
  };
  struct Parked {
    Reply<api::PollResponse> reply;
    Monotonic until;
    std::uint64_t ticket = 0;
    std::uint32_t interval = 1;
  };
  struct Worker {
    store::WorkerRecord record;
    scheduler::WorkerIndex index = 0;
    WorkerFeatures features;
    std::optional<Parked> parked;
    Monotonic last_poll{};
    bool polled = false;  ///< since the controller started
    bool silent = false;
    bool draining = false;  ///< as its last poll said
    /// The newest poll of `numbered`, an instance; kept when it leaves, or what it said before
    /// would count once more.
    std::uint64_t last_number = 0;
    std::string numbered;
    std::set<model::TaskId> held;
    std::map<std::string, Monotonic> strangers;  ///< ids told to stop that are not ours
    std::string conflict;
  };
  using WorkerKey = std::pair<std::string, std::string>;

  // state.cc
  void load(store::Loaded loaded, Moment moment);
  void load_build(store::BuildRows rows, Moment moment);
  Task* find_task(model::TaskId id);
  const Task* find_task(model::TaskId id) const;
  Build* find_build(model::BuildId id);
  Task& current(const Node& node) { return tasks_.at(node.attempts.back()); }
  const Task& current(const Node& node) const { return tasks_.at(node.attempts.back()); }
  void touch(Task& task);
  void touch(Build& build);
  void touch_steps(const Task& task);
  /// For changes that are found out again if a crash loses them.
  void touch_lightly(Task& task);
  void notify_watchers();
  void evict_finished();
  /// Whether it has to stay in memory: it goes on, or a worker holds one of its tasks.
  bool in_use(const Build& build) const;
  /// Takes a build and its tasks out of memory.
  void forget_build(model::BuildId id);

  // state_workers.cc
  struct PoolToken {
    std::string id;
    std::string pool;
  };
  Result<PoolToken> check_registration_token(const std::string& token, const std::string& peer,
                                             Moment moment);
  /// Whether the token that a session or a call rests on lets a worker of that name in.
  Status check_worker_scope(const std::string& token_id, const std::string& name) const;
  /// `why`, or that its sender has to wait. Counts, and audits the first of a flood.
  Error refuse_credential(const std::string& peer, Error why, Moment moment);
  /// For what peers can cause at any rate: at most one entry a minute for each of them.
  void audit_misuse(const std::string& actor, const std::string& action, const std::string& subject,
                    Moment moment);
  Result<WorkerKey> identify(const WorkerCredential& credential, Moment moment);
  Worker& worker_at(const WorkerKey& key, Moment moment);
  PoolView view_of_pool(const store::PoolRecord& pool) const;
  Status claim_name(Worker& worker, const std::string& instance, Moment moment);
  /// Whether that instance has polled with a higher number since; 0 is none.
  static bool overtaken(const Worker& worker, const std::string& instance, std::uint64_t number);
  void refresh_facts(Worker& worker, const model::Labels& labels,
                     const model::Resources& resources);
  void publish(Worker& worker);
  // `last`: the worker ends, so what its list lacks will never run there.
  bool reconcile(Worker& worker, const std::vector<std::string>& running, bool last, Moment moment);
  std::vector<model::TaskId> due_stops(Worker& worker, const std::vector<std::string>& running,
                                       Moment moment, std::optional<Monotonic>& later);
  void park(Worker& worker, Parked parked);
  void answer_poll(Worker& worker, api::PollResponse response);
  void answer_all_polls();
  void answer_with_stops(Worker& worker, Moment moment);
  Result<Task*> task_of_worker(const WorkerCredential& worker, const TaskCredential& task,
                               Moment moment);

  // state_tasks.cc
  Result<Task*> task_of_agent(const TaskCredential& credential);
  /// An attempt that has left memory, if the credential is its own. Errors: as task_of_agent.
  Result<store::TaskRecord> late_task(const TaskCredential& credential) const;
  /// The answer to a report of a task that is not in memory: OK if it ended long ago (an error
  /// would only make peers try again), else why not.
  void answer_late(const TaskCredential& credential, const Error& why, Reply<void> reply);
  void answer_late(const WorkerCredential& worker, const TaskCredential& credential,
                   const Error& why, Reply<void> reply, Moment moment);
  enum class Weight { Light, Heavy };
  void move_to(Task& task, model::TaskStatus status, Weight weight = Weight::Heavy);
  void confirm(Task& task, Moment moment);
  void heard(Task& task, Moment moment);
  void apply_updates(Task& task, const std::vector<StepUpdate>& updates, Weight weight);
  /// Ends an attempt and lets its dependants go on.
  void finish(Task& task, model::TaskStatus status, std::string reason, Moment moment);
  enum class Unreported { MeansSkipped, MeansUnfinished };
  /// Completed or Failed as the steps say; if they do not say, Failed with the reason `otherwise`,
  /// or nothing happens if that is empty.
  void finish_from_steps(Task& task, Unreported unreported, const std::string& otherwise,
                         Moment moment);
  /// The worker has let go of it (or is given up): frees its resources, closes its gate.
  void release_worker(Task& task, Moment moment);
  void want_stop(Task& task, Moment moment);

  // state_builds.cc
  Task& add_attempt(Build& build, Node& node, int attempt, Moment moment, RerunWish wish = {});
  /// What the attempt's last step says: only its steps tell it apart from others of its node.
  static bool has_terminal(const Task& task);
  void make_ready(Task& task, Moment moment);
  /// Why no pool takes a task of an untrusted build, and what helps; empty if one does.
  std::string refused_by_every_pool(const TaskSpec& spec) const;
  void advance(Build& build, Moment moment);
  void update_status_of(Build& build, Moment moment);
  /// New attempts for the nodes in `seeds`, and for what was skipped because of them.
  std::vector<model::TaskId> reopen(Build& build, const std::set<int>& seeds, Moment moment,
                                    RerunWish wish = {});
  /// Cancels what a newer build of the branch makes pointless; an untrusted one no trusted one.
  void cancel_outdated(const Build& newer, Moment moment);
  void enqueue(Task& task);
  /// The attempts just before this one that were lost, not failed.
  std::vector<model::TaskId> lost_before(const Task& task) const;
  /// The workers of those attempts, as long as another one could run the node; else nobody.
  std::set<scheduler::WorkerIndex> workers_to_avoid(const Node& node,
                                                    std::vector<model::TaskId> lost) const;
  void review_avoided();
  void cancel(Task& task, const std::string& reason, Moment moment);
  /// Ends a lost attempt and starts the next one, if that is allowed.
  void run_again(Task& task, const std::string& why, Moment moment);
  /// The same for an attempt whose worker says it could not run it; only if another one could.
  bool run_elsewhere(Task& task, const std::string& why, Moment moment);
  void take_lock(Task& task);
  void leave_lock(Task& task);
  TaskContext context_of(const Task& task) const;

  // state_timers.cc
  void place_tasks(Moment moment);
  void expire_polls(Moment moment);
  void judge_silence(Moment moment);
  void judge_tasks(Moment moment);

  // state_views.cc
  TaskView view(const Task& task) const;

  const StateOptions options_;
  Monotonic started_;
  Secret session_key_;
  std::int64_t last_build_id_ = 0;
  std::int64_t last_task_id_ = 0;
  std::uint64_t next_ticket_ = 0;
  scheduler::WorkerIndex next_worker_index_ = 1;

  std::map<std::string, store::PoolRecord> pools_;
  std::map<std::string, store::RegistrationTokenRecord> registration_tokens_;
  std::unordered_map<std::string, std::string> registration_token_by_hash_;
  std::map<std::string, store::ApiTokenRecord> api_tokens_;
  std::unordered_map<std::string, std::string> api_token_by_hash_;
  std::map<WorkerKey, Worker> workers_;
  std::unordered_map<scheduler::WorkerIndex, Worker*> worker_by_index_;
  std::map<model::BuildId, Build> builds_;
  std::unordered_map<model::TaskId, Task> tasks_;
  std::set<model::TaskId> active_;  ///< assigned, executing, or holding a worker
  std::set<std::pair<Monotonic, scheduler::WorkerIndex>> parked_;  ///< by the end of the hold
  std::unordered_map<std::string, model::TaskId> clone_tokens_;
  std::map<std::string, std::deque<model::TaskId>> locks_;  ///< front: the holder
  std::deque<model::BuildId> finished_builds_;
  /// Removed a short while ago: a request may still have their rows in its hand.
  std::set<model::BuildId> removed_;
  std::deque<std::pair<Monotonic, model::BuildId>> removed_at_;
  scheduler::Scheduler scheduler_;
  Monotonic next_silence_check_{};
  RefusalLimiter bad_tokens_;
  RefusalLimiter misuse_{{0, std::chrono::seconds(60), 4096}};
  RefusalLimiter worker_audit_;       ///< of what workers may do, but not thousands of times
  std::set<model::TaskId> avoiding_;  ///< waiting tasks that keep off some workers

  LatencyHistogram dispatch_;
  store::Changes changes_;
  std::set<model::TaskId> dirty_tasks_;
  std::set<model::TaskId> dirty_steps_;
  std::set<model::TaskId> light_tasks_;
  std::set<model::TaskId> light_steps_;
  std::set<model::BuildId> dirty_builds_;
  std::vector<Effect> effects_;
  std::vector<Effect> hints_;
};

}  // namespace cirrus::controller::core
