// SPDX-License-Identifier: MIT
// What the edges ask of the core: plain values, decoded from whatever arrived.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "cirrus_agent.pb.h"
#include "cirrus_evaluator.pb.h"
#include "cirrus_workers.pb.h"
#include "controller/core/actor.h"
#include "model/entity_ids.h"
#include "model/label_selector.h"
#include "model/resources.h"
#include "model/task_status.h"

namespace cirrus::controller::core {

namespace api = org::cirruslabs::ci::services::cirruscigrpc;

/// Called exactly once, from the state loop's thread; must not block.
template <typename T>
using Reply = std::function<void(Result<T>)>;

/// Both clocks, read once per batch.
struct Moment {
  Monotonic now;
  WallTime wall;
  std::int64_t millis() const { return to_unix_millis(wall); }
};

/// What a worker said it can do in `cirrus-features`; nothing for a reference worker.
struct WorkerFeatures {
  bool hold = false;
  bool commands = false;
};

struct WorkerCredential {
  std::string registration_token;
  std::string session_token;
  std::string name;
  std::string instance;   ///< empty: a reference worker
  std::string peer = {};  ///< the address it calls from, without a port; for limits only
};

/// A stand-by instance as a worker describes it.
struct StandbyReport {
  std::string isolation;  ///< deterministic bytes of the message; empty: none
  std::uint64_t age = 0;  ///< seconds
};

struct RegisterCall {
  std::string registration_token;
  std::string name;
  std::string instance;
  model::Labels labels;
  model::Resources resources;
  std::string peer = {};
  std::uint64_t number = 0;  ///< of the instance's last poll before; 0: it does not say
};

struct PollCall {
  WorkerCredential worker;
  WorkerFeatures features;
  bool draining = false;     ///< wants stop orders, but nothing new
  bool leaving = false;      ///< its last poll: the name is free once nothing runs
  std::uint64_t number = 0;  ///< 0: not numbered
  model::Labels labels;
  model::Resources resources;
  std::vector<std::string> running_tasks;
  StandbyReport standby;
};

/// The credential of one attempt.
struct TaskCredential {
  std::string id;  ///< as it came, not parsed yet
  std::string secret;
};

struct StepUpdate {
  std::string name;
  model::StepStatus status = model::StepStatus::Created;
  std::int64_t duration_ns = 0;
};

/// Says to log streams whether an attempt's bytes still count. Closed by the core when another
/// attempt took over or the worker let go of the task; never opened again.
struct AttemptGate {
  std::atomic<bool> open{true};  // atomic: read by log streams, written by the state loop
};

/// What a log stream needs to know about the step it writes.
struct LogPermit {
  model::TaskId task;
  std::shared_ptr<const AttemptGate> gate;
  std::vector<std::string> secrets_to_mask;
};

/// What a transfer of caches and artifacts needs to know about the task it acts for.
struct BlobPermit {
  model::TaskId task;
  std::string repository;
  /// Where it writes caches and looks first; empty: where all builds of the repository do.
  std::string cache_space;
  std::shared_ptr<const AttemptGate> gate;
};

struct NewBuild {
  std::string repository;
  std::string branch;
  std::string commit;  ///< empty: inline configuration, nothing to clone
  std::string message;
  std::map<std::string, std::string> environment;
  int priority = 0;
  std::vector<api::Task> tasks;
  std::vector<api::Issue> issues;
  Actor actor;
};

/// What somebody who runs a task again wants of the new attempt.
struct RerunWish {
  bool terminal = false;  ///< it has a last step that waits for people at a terminal
};

/// Who may use the HTTP API, weakest first.
enum class Role { Reader, Submitter, Operator, Admin };

struct ApiIdentity {
  std::string token_id;
  std::string name;
  Role role = Role::Reader;
  std::vector<std::string> repositories;
  bool trusted = false;
};

/// `reader`, `submitter`, ... Errors of the reverse: InvalidArgument, listing the roles.
std::string_view to_string(Role role);
Result<Role> parse_role(std::string_view text);

}  // namespace cirrus::controller::core
