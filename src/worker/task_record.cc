// SPDX-License-Identifier: MIT
#include "worker/task_record.h"

#include <charconv>

#include "base/ids.h"
#include "base/log.h"
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

std::uint32_t number_of_start(const std::filesystem::path& state, WallTime now) {
  const std::filesystem::path path = state / "last-start";
  auto number = static_cast<std::uint32_t>(to_unix_millis(now) / 1000);
  const std::string known = os::read_file(path, 256).value_or("");
  const std::string_view digits = trim(known);
  std::uint32_t last = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), last);
  if (parsed.ec == std::errc() && last >= number) number = last + 1;
  const Status kept = os::write_file(path, std::to_string(number) + "\n", 0600, true);
  if (!kept.ok()) log_warning("the number of this start is not kept", {{"error", kept.error()}});
  return number;
}

}  // namespace cirrus::worker
