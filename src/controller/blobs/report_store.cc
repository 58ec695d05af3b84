// SPDX-License-Identifier: MIT
#include "controller/blobs/report_store.h"

#include <fcntl.h>

#include <set>

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>

#include "os/fd.h"
#include "os/files.h"

namespace cirrus::controller::blobs {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAnnotations = "annotations";
constexpr const char* kWarnings = "warnings";
constexpr const char* kFigures = "figures";
constexpr const char* kAgentLog = "agent.log";
constexpr std::size_t kMaxWarning = 4096;

/// The file's bytes; empty if there is none.
Result<std::string> contents(const fs::path& file) {
  Result<std::string> bytes = os::read_file(file, 2 * ReportStore::kMaxBytes);
  if (!bytes.ok() && bytes.error().code() == Code::NotFound) return std::string();
  return bytes;
}

std::uint64_t size_of(const fs::path& directory) {
  std::error_code failure;
  std::uint64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, failure)) {
    const std::uintmax_t size = entry.file_size(failure);
    if (!failure) bytes += size;
  }
  return bytes;
}

/// Hands each whole message to `each`. What a crash cut off at the end is passed over.
template <typename Message>
void each_message(const std::string& bytes, const std::function<void(const Message&)>& each) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  Message message;
  bool clean_end = false;
  while (google::protobuf::util::ParseDelimitedFromZeroCopyStream(&message, &stream, &clean_end)) {
    each(message);
    message.Clear();
  }
}

}  // namespace

Status ReportStore::append(model::TaskId task, const char* file,
                           const google::protobuf::MessageLite& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::util::SerializeDelimitedToZeroCopyStream(message, &stream);
  }
  const std::lock_guard lock(mutex_);
  const fs::path directory = paths_.reports_of(task);
  CIRRUS_TRY(os::make_directories(directory, 0700));
  if (size_of(directory) + bytes.size() > kMaxBytes) {
    return error(Code::ResourceExhausted, "task {} has reported more than {} MiB", task,
                 kMaxBytes >> 20U);
  }
  const os::Fd output =
      CIRRUS_TRY(os::open_file(directory / file, O_WRONLY | O_CREAT | O_APPEND, 0600));
  return os::write_all(output.get(), bytes);
}

Status ReportStore::replace(model::TaskId task, const char* file, const std::string& bytes) {
  const std::lock_guard lock(mutex_);
  const fs::path directory = paths_.reports_of(task);
  CIRRUS_TRY(os::make_directories(directory, 0700));
  if (size_of(directory) + bytes.size() > kMaxBytes) {
    return error(Code::ResourceExhausted, "task {} has reported more than {} MiB", task,
                 kMaxBytes >> 20U);
  }
  return os::write_file(directory / file, bytes);
}

Status ReportStore::add_annotations(model::TaskId task,
                                    const pb::ReportAnnotationsCommandRequest& report) {
  pb::ReportAnnotationsCommandRequest kept = report;
  kept.clear_task_identification();  // it may hold the task's secret
  return append(task, kAnnotations, kept);
}

Status ReportStore::add_warning(model::TaskId task, const std::string& message) {
  pb::ReportAgentProblemRequest kept;
  kept.set_message(message.substr(0, kMaxWarning));
  return append(task, kWarnings, kept);
}

Status ReportStore::put_figures(model::TaskId task, const pb::ReportAgentFinishedRequest& report) {
  pb::ReportAgentFinishedRequest kept = report;
  kept.clear_task_identification();
  kept.clear_command_results();
  return replace(task, kFigures, kept.SerializeAsString());
}

Status ReportStore::put_agent_log(model::TaskId task, const std::string& log) {
  return replace(task, kAgentLog, log);
}

Result<std::vector<pb::Annotation>> ReportStore::annotations(model::TaskId task) const {
  const std::string bytes = CIRRUS_TRY(contents(paths_.reports_of(task) / kAnnotations));
  std::vector<pb::Annotation> list;
  std::set<std::string> seen;
  each_message<pb::ReportAnnotationsCommandRequest>(
      bytes, [&](const pb::ReportAnnotationsCommandRequest& report) {
        for (const pb::Annotation& one : report.annotations()) {
          if (seen.insert(one.SerializeAsString()).second) list.push_back(one);
        }
      });
  return list;
}

Result<std::vector<std::string>> ReportStore::warnings(model::TaskId task) const {
  const std::string bytes = CIRRUS_TRY(contents(paths_.reports_of(task) / kWarnings));
  std::vector<std::string> list;
  each_message<pb::ReportAgentProblemRequest>(
      bytes, [&](const pb::ReportAgentProblemRequest& one) { list.push_back(one.message()); });
  return list;
}

Result<std::optional<pb::ReportAgentFinishedRequest>> ReportStore::figures(
    model::TaskId task) const {
  const fs::path file = paths_.reports_of(task) / kFigures;
  const Result<std::string> bytes = os::read_file(file, 2 * kMaxBytes);
  if (!bytes.ok()) {
    if (bytes.error().code() == Code::NotFound)
      return std::optional<pb::ReportAgentFinishedRequest>();
    return bytes.error();
  }
  pb::ReportAgentFinishedRequest report;
  if (!report.ParseFromString(bytes.value())) {
    return error(Code::DataLoss, "'{}' is damaged", file.string());
  }
  return std::optional(std::move(report));
}

Result<std::string> ReportStore::agent_log(model::TaskId task) const {
  return contents(paths_.reports_of(task) / kAgentLog);
}

}  // namespace cirrus::controller::blobs
