// SPDX-License-Identifier: MIT
// States of builds, tasks and steps, and the only table of legal transitions.
#pragma once

#include <string_view>

#include "base/result.h"

namespace cirrus::model {

/// One attempt of one task.
///
///   Created ──► Ready ──► Assigned ──► Executing ──► Completed
///      │          │           │            ├───────► Failed
///      ├─► Skipped│           ├───────────►│
///      └──────────┴───────────┴────────────┴───────► Aborted
///
/// Ready also ends as Failed when nothing can ever run it. Numbers are stored: append only.
enum class TaskStatus {
  Created = 0,    ///< waits for the tasks it depends on, or for its trigger
  Ready = 1,      ///< waits for a worker
  Assigned = 2,   ///< given to a worker that has not confirmed it yet
  Executing = 3,  ///< confirmed by the worker or its agent
  Completed = 4,
  Failed = 5,
  Aborted = 6,  ///< cancelled, or its worker was lost
  Skipped = 7,
};

/// True if a task may go from one state to the other.
bool may_move(TaskStatus from, TaskStatus to);
bool is_final(TaskStatus status);
/// True while a worker is expected to hold the task: Assigned and Executing.
bool is_running(TaskStatus status);
/// The API's word: `created triggered scheduled executing completed failed aborted skipped`.
std::string_view to_string(TaskStatus status);
/// The reverse, for stored numbers. Errors: DataLoss.
Result<TaskStatus> task_status_of(int number);

/// One step (instruction) of a task.
enum class StepStatus {
  Created = 0,
  Executing = 1,
  Completed = 2,
  Failed = 3,
  Aborted = 4,
  Skipped = 5,
};

bool is_final(StepStatus status);
std::string_view to_string(StepStatus status);
/// Errors: DataLoss.
Result<StepStatus> step_status_of(int number);

enum class BuildStatus { Created = 0, Executing = 1, Completed = 2, Failed = 3, Aborted = 4 };

bool is_final(BuildStatus status);
std::string_view to_string(BuildStatus status);
/// Errors: DataLoss.
Result<BuildStatus> build_status_of(int number);

}  // namespace cirrus::model
