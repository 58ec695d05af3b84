// SPDX-License-Identifier: MIT
// What the controller keeps: one struct per kind of row. Times are milliseconds since 1970 UTC,
// 0 meaning "not yet". Messages of the wire travel as opaque bytes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/entity_ids.h"
#include "model/isolation_kind.h"
#include "model/label_selector.h"
#include "model/resources.h"
#include "model/task_status.h"

namespace cirrus::controller::store {

struct PoolRecord {
  std::string name;
  bool hold_reference_polls = true;     ///< may polls of reference workers be held
  bool paused = false;                  ///< no task starts in a paused pool
  std::int64_t lost_after_ms = 600000;  ///< silence after which a worker's tasks run again
  /// In what tasks of untrusted builds may run there; empty: it takes trusted builds only.
  model::IsolationSet untrusted_isolations = model::IsolationSet::any();
  bool record_shells = false;  ///< what people's shells show is kept with the logs
};

/// A token that lets workers join a pool. Only its SHA-256 is kept.
struct RegistrationTokenRecord {
  std::string id;
  std::string pool;
  std::string hash;
  std::int64_t created_ms = 0;
  std::int64_t expires_ms = 0;  ///< end of the overlap after a rotation; 0: never
  std::int64_t revoked_ms = 0;
  std::string note;          ///< what it is for, as its maker says
  std::string worker_names;  ///< whom it lets in: a name, or a beginning and `*`; empty: anybody
};

/// A token of the HTTP API. Only its SHA-256 is kept.
struct ApiTokenRecord {
  std::string id;
  std::string name;
  std::string role;  ///< `admin`, `operator`, `submitter`, `reader`
  std::string hash;
  std::int64_t created_ms = 0;
  std::int64_t revoked_ms = 0;
  /// Where it may submit, push, cancel and run again: `owner/name`, `owner/*` or `*`.
  std::vector<std::string> repositories;
  /// Its builds see secrets, write the caches that all builds of a repository read, and run in
  /// every pool.
  bool trusted = false;
};

struct WorkerRecord {
  std::string pool;
  std::string name;
  std::string instance;   ///< empty: a reference worker
  bool disabled = false;  ///< paused or cordoned: gets no new tasks
  model::Labels labels;
  model::Resources resources;
  std::int64_t first_seen_ms = 0;
};

struct BuildRecord {
  model::BuildId id;
  std::string repository;
  std::string branch;
  std::string commit;
  std::string message;
  std::map<std::string, std::string> environment;  ///< given at submission
  int priority = 0;
  model::BuildStatus status = model::BuildStatus::Created;
  std::int64_t created_ms = 0;
  std::int64_t finished_ms = 0;
  std::string issues;  ///< opaque: EvaluateConfigResponse holding issues only
  /// Where its tasks write caches; empty: the ones all builds of the repository share.
  std::string cache_space;
  /// Set once, by the token that submitted it: no attempt of a task is ever trusted more.
  bool trusted = true;
  std::string submitted_by;  ///< id of that token; empty: unknown, or the controller itself
};

/// Of a build that succeeded, what later ones of its branch are told.
struct GreenBuild {
  model::BuildId id;
  std::string commit;
  friend bool operator==(const GreenBuild&, const GreenBuild&) = default;
};

/// What a task is, the same for all its attempts. `node` numbers the tasks of one build.
struct DefinitionRecord {
  model::BuildId build;
  int node = 0;
  std::vector<int> depends_on;  ///< nodes
  std::string task;             ///< opaque: the evaluated Task message
};

/// One attempt of one task.
struct TaskRecord {
  model::TaskId id;
  model::BuildId build;
  int node = 0;
  int attempt = 1;
  model::TaskStatus status = model::TaskStatus::Created;
  std::string reason;  ///< why it failed, was aborted or skipped
  std::string pool;    ///< of its worker, empty before assignment
  std::string worker;
  bool holds_worker = false;  ///< books its worker's resources: assignment until stopped or lost
  bool triggered = false;     ///< a manual task that was triggered
  std::string client_secret;
  std::string server_secret;
  std::string clone_token;
  std::int64_t created_ms = 0;
  std::int64_t assigned_ms = 0;
  std::int64_t started_ms = 0;
  std::int64_t finished_ms = 0;
  int lost_before = 0;  ///< attempts in a row before this one that were lost, not failed
};

struct StepRecord {
  model::TaskId task;
  int index = 0;
  std::string name;
  model::StepStatus status = model::StepStatus::Created;
  std::int64_t duration_ns = 0;
};

/// What stands for a finished build that was removed. Its id, and those of its tasks, are never
/// given out again.
struct RemovedBuildRecord {
  model::BuildId id;
  std::string repository;
  std::int64_t removed_ms = 0;
  std::string why;  ///< `finished builds are kept for 365 days`
  /// Of these the logs, artifacts and reports have yet to be removed; empty once they are gone.
  std::vector<model::TaskId> tasks;
  std::int64_t last_task = 0;  ///< the highest id of its tasks
};

/// Which finished builds may go. Never one with a task that may still run or holds a worker, nor
/// the newest completed one of its branch.
struct RemovalQuery {
  std::int64_t finished_before_ms = 0;
  int newest_kept = 0;  ///< only builds older than this many newest ones; 0: of any rank
  int limit = 100;
};

/// All that was removed so far.
struct RemovalSummary {
  std::int64_t builds = 0;
  RemovedBuildRecord last;  ///< the one removed last; meaningless if there is none
};

/// Who did what to what; append only.
struct AuditRecord {
  std::int64_t at_ms = 0;
  std::string actor;
  std::string action;
  std::string subject;
  std::int64_t id = 0;  ///< given by the store; grows
};

/// Which entries of the audit; empty texts: any.
struct AuditQuery {
  std::int64_t before = 0;  ///< ids below this one; 0: from the newest
  int limit = 100;
  std::string actor;
  std::string action;  ///< exactly, or everything below it: `pool` finds `pool.token.create`
};

/// A build with everything below it.
struct BuildRows {
  BuildRecord build;
  std::vector<DefinitionRecord> definitions;
  std::vector<TaskRecord> tasks;
  std::vector<StepRecord> steps;
};

/// What one transaction writes. Rows replace those of the same key.
struct Changes {
  std::vector<std::pair<std::string, std::string>> settings;  ///< key, value
  std::vector<PoolRecord> pools;
  std::vector<RegistrationTokenRecord> registration_tokens;
  std::vector<ApiTokenRecord> api_tokens;
  std::vector<WorkerRecord> workers;
  std::vector<BuildRecord> builds;
  std::vector<DefinitionRecord> definitions;
  std::vector<TaskRecord> tasks;
  std::vector<StepRecord> steps;
  std::vector<AuditRecord> audit;
  /// Written last: every row of these builds goes, and the record stays in their place.
  std::vector<RemovedBuildRecord> removed_builds;

  bool empty() const {
    return settings.empty() && pools.empty() && registration_tokens.empty() && api_tokens.empty() &&
           workers.empty() && builds.empty() && definitions.empty() && tasks.empty() &&
           steps.empty() && audit.empty() && removed_builds.empty();
  }
};

/// What the state loop needs at start: all configuration, and every build that is not final or
/// has a task that still holds a worker.
struct Loaded {
  std::map<std::string, std::string> settings;
  std::vector<PoolRecord> pools;
  std::vector<RegistrationTokenRecord> registration_tokens;
  std::vector<ApiTokenRecord> api_tokens;
  std::vector<WorkerRecord> workers;
  std::vector<BuildRows> builds;
  std::int64_t last_build_id = 0;  ///< also of what was removed
  std::int64_t last_task_id = 0;
};

}  // namespace cirrus::controller::store
