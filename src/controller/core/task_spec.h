// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cirrus_instances.pb.h"
#include "controller/core/calls.h"
#include "controller/scheduler/scheduler.h"
#include "controller/store/records.h"

namespace cirrus::controller::core {

/// What the core needs to know of one evaluated task; the message itself rides along unread.
struct TaskSpec {
  struct Step {
    std::string name;
    bool background = false;
  };
  api::Task message;
  std::string name;
  std::vector<Step> steps;
  scheduler::Demand demand;
  api::Isolation isolation;
  bool has_isolation = false;
  model::IsolationKind isolation_kind = model::IsolationKind::None;
  /// A plain container with more to it than `isolation` can say.
  std::optional<api::ContainerInstance> container;
  std::chrono::seconds timeout{3600};
  bool allow_failures = false;
  bool skipped = false;  ///< by its own `skip:`
  bool manual = false;
  bool stateful = false;
  bool auto_cancellation = false;  ///< a newer build of its branch cancels it
  std::string execution_lock;
  std::string unrunnable;  ///< a sentence: nothing can ever run it; empty: it can
};

/// What a stand-by instance must equal to serve a task of this isolation: the message as bytes,
/// always the same ones. Empty for `none`, which nothing warms up. Source: protocol §5.6.
std::string isolation_key(const api::Isolation& isolation);

/// `name`, or `name-2`, ... : the first that no step of the task has.
std::string free_step_name(const TaskSpec& spec, const std::string& name);

/// Reads an evaluated task of `build`, whose priority and trust it has. Never fails: what cannot be
/// run says so in `unrunnable`.
std::shared_ptr<const TaskSpec> read_task_spec(api::Task task, const store::BuildRecord& build);

}  // namespace cirrus::controller::core
