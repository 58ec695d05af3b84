// SPDX-License-Identifier: MIT
#include "controller/blobs/report_store.h"

#include <fcntl.h>

#include <set>

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>

#include "base/digest.h"
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
void each_message(google::protobuf::io::ZeroCopyInputStream& stream,
                  const std::function<void(const Message&)>& each) {
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

Result<ReportStore::AnnotationPage> ReportStore::annotations(model::TaskId task, std::size_t after,
                                                             std::size_t most) const {
  AnnotationPage page;
  const Result<os::Fd> file = os::open_file(paths_.reports_of(task) / kAnnotations, O_RDONLY);
  if (!file.ok()) {
    if (file.error().code() == Code::NotFound) return page;
    return file.error();
  }
  google::protobuf::io::FileInputStream stream(file.value().get());
  std::set<std::string> seen;  // digests: of up to 64 MiB of findings less than half stays
  std::size_t bytes = 0;
  each_message<pb::ReportAnnotationsCommandRequest>(
      stream, [&](const pb::ReportAnnotationsCommandRequest& report) {
        for (const pb::Annotation& one : report.annotations()) {
          const std::string written = one.SerializeAsString();
          if (page.more || !seen.insert(sha256_hex(written)).second) continue;
          if (seen.size() <= after) continue;
          page.more = page.annotations.size() >= most || bytes >= kMostPageBytes;
          if (page.more) continue;
          page.annotations.push_back(one);
          bytes += written.size();
        }
      });
  return page;
}

Result<std::vector<std::string>> ReportStore::warnings(model::TaskId task) const {
  const std::string bytes = CIRRUS_TRY(contents(paths_.reports_of(task) / kWarnings));
  std::vector<std::string> list;
  std::set<std::string> seen;
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  each_message<pb::ReportAgentProblemRequest>(stream,
                                              [&](const pb::ReportAgentProblemRequest& one) {
                                                if (seen.insert(one.message()).second)
                                                  list.push_back(one.message());
                                              });
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
