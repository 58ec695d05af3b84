// SPDX-License-Identifier: MIT
// task.pb: what a worker must know about a task after a restart.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "cirrus_worker_state.pb.h"

namespace cirrus::worker {

using cirrus::worker::v1::TaskRecord;

inline constexpr std::uint32_t kTaskRecordVersion = 1;

/// Replaces `<directory>/task.pb`.
Status save_task_record(const std::filesystem::path& directory, const TaskRecord& record);
/// Errors: NotFound; DataLoss if it is damaged; FailedPrecondition if a newer worker wrote it.
Result<TaskRecord> load_task_record(const std::filesystem::path& directory);

/// The directory name of a task: its id if that is a harmless name, else an encoded form.
std::string directory_name_of_task(const std::string& task_id);

/// `<state>/instance-id`: made once, then read. Source: design 3.9.
Result<std::string> load_instance_id(const std::filesystem::path& state);

/// A number above that of every earlier start with this state: the second `now`, or one more than
/// what `<state>/last-start` says, where it is kept. A disk that keeps nothing is no reason not to
/// start: then it is the second.
std::uint32_t number_of_start(const std::filesystem::path& state, WallTime now);

}  // namespace cirrus::worker
