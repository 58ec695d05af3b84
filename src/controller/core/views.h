// SPDX-License-Identifier: MIT
// What people are shown: copies, safe to keep and to use from any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "controller/store/records.h"
#include "model/entity_ids.h"
#include "model/waiting_reason.h"

namespace cirrus::controller::core {

struct StepView {
  std::string name;
  model::StepStatus status = model::StepStatus::Created;
  std::int64_t duration_ns = 0;
  bool log_final = false;  ///< no more bytes will come
};

struct TaskView {
  model::TaskId id;
  model::BuildId build;
  std::string repository;
  std::string name;
  model::TaskStatus status = model::TaskStatus::Created;
  bool allow_failures = false;
  std::vector<model::TaskId> depends_on;
  std::string worker;
  bool unreachable = false;
  std::string reason;
  model::WaitingReasons waiting_reasons;
  std::int64_t created_ms = 0;
  std::int64_t started_ms = 0;
  std::int64_t finished_ms = 0;
  int attempt = 1;
  bool current = true;  ///< false: a later attempt exists
  bool manual = false;  ///< waits to be triggered by hand
  std::vector<StepView> steps;
};

struct BuildView {
  store::BuildRecord record;
  std::vector<TaskView> tasks;  ///< current attempts, in the order of the configuration
};

struct WorkerView {
  std::string pool;
  std::string name;
  std::string state;  ///< `idle`, `busy`, `paused`, `silent`, `never seen`
  bool disabled = false;
  bool draining = false;  ///< as it says itself
  bool connected = false;
  std::string instance;
  model::Labels labels;
  model::Resources resources;
  model::Resources resources_in_use;  ///< what its tasks hold
  std::vector<model::TaskId> tasks;
  std::int64_t last_seen_ago_ms = -1;  ///< -1: not since the controller started
  std::string conflict;                ///< empty, or what is wrong with its name
};

struct PoolView {
  store::PoolRecord record;
  int workers = 0;
  int connected = 0;
};

/// Tokens, with empty hashes.
using ApiTokenViews = std::vector<store::ApiTokenRecord>;
using RegistrationTokenViews = std::vector<store::RegistrationTokenRecord>;

/// A place among tokens, which stand in the order they were made; by default before the first.
struct TokenPlace {
  std::int64_t created_ms = 0;
  std::string id;
};

}  // namespace cirrus::controller::core
