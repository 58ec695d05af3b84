// SPDX-License-Identifier: MIT
#include "worker/task_record.h"

#include "base/ids.h"
#include "base/strings.h"
#include "gateway/task_paths.h"
#include "os/files.h"

namespace cirrus::worker {

Status save_task_record(const std::filesystem::path& directory, const TaskRecord& record) {
  return os::write_file(directory / "task.pb", record.SerializeAsString());
}

Result<TaskRecord> load_task_record(const std::filesystem::path& directory) {
  const std::string bytes = CIRRUS_TRY(os::read_file(directory / "task.pb"));
  TaskRecord record;
  if (!record.ParseFromString(bytes) || record.version() == 0 || record.task_id().empty()) {
    return error(Code::DataLoss, "'{}' is damaged", (directory / "task.pb").string());
  }
  if (record.version() > kTaskRecordVersion) {
    return error(Code::FailedPrecondition, "'{}' was written by a newer worker (version {})",
                 (directory / "task.pb").string(), record.version());
  }
  return record;
}

std::string directory_name_of_task(const std::string& task_id) {
  return gateway::file_name_of_step(task_id);
}

Result<std::string> load_instance_id(const std::filesystem::path& state) {
  const std::filesystem::path path = state / "instance-id";
  const Result<std::string> known = os::read_file(path, 256);
  if (known.ok() && !trim(known.value()).empty()) return std::string(trim(known.value()));
  if (!known.ok() && known.error().code() != Code::NotFound) return known.error();
  const std::string id = random_hex(16);
  CIRRUS_TRY(os::write_file(path, id + "\n", 0600, true));
  return id;
}

}  // namespace cirrus::worker
