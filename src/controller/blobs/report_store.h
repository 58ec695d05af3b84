// SPDX-License-Identifier: MIT
// ReportStore: what agents report besides logs and results: annotations, warnings, figures.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cirrus_agent.pb.h"
#include "controller/blobs/paths.h"

namespace cirrus::controller::blobs {

namespace pb = org::cirruslabs::ci::services::cirruscigrpc;

/// Files of length-delimited messages, one directory per task. Thread-safe; calls block.
class ReportStore {
 public:
  /// Ours: of one task. A report over it is refused, and the task goes on.
  static constexpr std::uint64_t kMaxBytes = 64U << 20U;

  explicit ReportStore(Paths paths) : paths_(std::move(paths)) {}

  /// Appends. Errors: ResourceExhausted over the limit; those of the disk.
  Status add_annotations(model::TaskId task, const pb::ReportAnnotationsCommandRequest& report);
  Status add_warning(model::TaskId task, const std::string& message);
  /// Replaces the figures of the final report: caches and resource utilisation.
  Status put_figures(model::TaskId task, const pb::ReportAgentFinishedRequest& report);
  Status put_agent_log(model::TaskId task, const std::string& log);

  /// Findings of one task, a page of them.
  struct AnnotationPage {
    std::vector<pb::Annotation> annotations;
    bool more = false;  ///< there are more behind these
  };
  /// Each finding once, in the order they came: agents may report the same again. Without the first
  /// `after`, and at most `most` and `kMostPageBytes` of them.
  Result<AnnotationPage> annotations(model::TaskId task, std::size_t after, std::size_t most) const;
  /// Ours: a page ends early when its findings have this many bytes together.
  static constexpr std::size_t kMostPageBytes = 4U << 20U;
  /// Each once, too.
  Result<std::vector<std::string>> warnings(model::TaskId task) const;
  /// Absent if the task reported none (yet).
  Result<std::optional<pb::ReportAgentFinishedRequest>> figures(model::TaskId task) const;
  /// The agent's own log; empty if it sent none.
  Result<std::string> agent_log(model::TaskId task) const;

 private:
  Status append(model::TaskId task, const char* file, const google::protobuf::MessageLite& message);
  Status replace(model::TaskId task, const char* file, const std::string& bytes);

  const Paths paths_;
  std::mutex mutex_;  // one writer at a time: the limit is of all files of a task
};

}  // namespace cirrus::controller::blobs
