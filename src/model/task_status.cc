// SPDX-License-Identifier: MIT
#include "model/task_status.h"

namespace cirrus::model {

bool may_move(TaskStatus from, TaskStatus to) {
  switch (from) {
    case TaskStatus::Created:
      return to == TaskStatus::Ready || to == TaskStatus::Skipped || to == TaskStatus::Aborted;
    case TaskStatus::Ready:
      return to == TaskStatus::Assigned || to == TaskStatus::Aborted || to == TaskStatus::Failed;
    case TaskStatus::Assigned:
      return to == TaskStatus::Executing || to == TaskStatus::Failed || to == TaskStatus::Aborted;
    case TaskStatus::Executing:
      return to == TaskStatus::Completed || to == TaskStatus::Failed || to == TaskStatus::Aborted;
    case TaskStatus::Completed:
    case TaskStatus::Failed:
    case TaskStatus::Aborted:
    case TaskStatus::Skipped: return false;
  }
  return false;
}

bool is_final(TaskStatus status) {
  return status >= TaskStatus::Completed;
}

bool is_running(TaskStatus status) {
  return status == TaskStatus::Assigned || status == TaskStatus::Executing;
}

std::string_view to_string(TaskStatus status) {
  switch (status) {
    case TaskStatus::Created: return "created";
    case TaskStatus::Ready: return "triggered";
    case TaskStatus::Assigned: return "scheduled";
    case TaskStatus::Executing: return "executing";
    case TaskStatus::Completed: return "completed";
    case TaskStatus::Failed: return "failed";
    case TaskStatus::Aborted: return "aborted";
    case TaskStatus::Skipped: return "skipped";
  }
  return "unknown";
}

Result<TaskStatus> task_status_of(int number) {
  if (number < 0 || number > static_cast<int>(TaskStatus::Skipped)) {
    return error(Code::DataLoss, "{} is not a task status", number);
  }
  return static_cast<TaskStatus>(number);
}

bool is_final(StepStatus status) {
  return status >= StepStatus::Completed;
}

std::string_view to_string(StepStatus status) {
  switch (status) {
    case StepStatus::Created: return "created";
    case StepStatus::Executing: return "executing";
    case StepStatus::Completed: return "completed";
    case StepStatus::Failed: return "failed";
    case StepStatus::Aborted: return "aborted";
    case StepStatus::Skipped: return "skipped";
  }
  return "unknown";
}

Result<StepStatus> step_status_of(int number) {
  if (number < 0 || number > static_cast<int>(StepStatus::Skipped)) {
    return error(Code::DataLoss, "{} is not a step status", number);
  }
  return static_cast<StepStatus>(number);
}

bool is_final(BuildStatus status) {
  return status >= BuildStatus::Completed;
}

std::string_view to_string(BuildStatus status) {
  switch (status) {
    case BuildStatus::Created: return "created";
    case BuildStatus::Executing: return "executing";
    case BuildStatus::Completed: return "completed";
    case BuildStatus::Failed: return "failed";
    case BuildStatus::Aborted: return "aborted";
  }
  return "unknown";
}

Result<BuildStatus> build_status_of(int number) {
  if (number < 0 || number > static_cast<int>(BuildStatus::Aborted)) {
    return error(Code::DataLoss, "{} is not a build status", number);
  }
  return static_cast<BuildStatus>(number);
}

}  // namespace cirrus::model
