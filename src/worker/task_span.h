// SPDX-License-Identifier: MIT
// The span of a task, for tracing systems: the reference's `persistent-worker-task`.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "worker/instance_kind.h"
#include "worker/task_record.h"

namespace cirrus::worker {

/// Identifiers are lower-case hex digits.
struct TaskSpan {
  std::string trace_id;
  std::string span_id;
  std::string parent_span_id;  ///< empty: the trace begins here
  std::string trace_state;
  bool sampled = false;  ///< whoever began the trace wants it to be exported
  WallTime start{};
  WallTime end{};
  std::string task_id;
  std::string worker_name;
  std::string upstream_host;
  InstanceKind kind;
};

/// Gives the task a span of its own below the one its assignment came with, or one that begins a
/// trace if it came with none that is valid: from then on the record's `traceparent`, which the
/// task's processes get, names it. Does nothing to a record that has one already, as after a
/// restart of the worker. Source: W3C Trace Context, level 1.
void begin_span(TaskRecord& record);

/// What is known of the task's span while it runs; without identifiers if it has none.
TaskSpan span_of(const TaskRecord& record, const std::string& worker_name);

/// The host of an endpoint such as `https://ci.example.org:7470`.
std::string host_of_endpoint(std::string_view endpoint);

}  // namespace cirrus::worker
