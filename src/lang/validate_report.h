// SPDX-License-Identifier: MIT
// What `cirrus validate` says about an evaluation.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lang/evaluate.h"

namespace cirrus::lang {

enum class ReportFormat {
  Text,  ///< problems as `file:line:column: ...`, then one line per task
  Json,  ///< {"schema_version": 1, "tasks": [...], "issues": [...], "tasksCountBeforeFiltering": N}
  Sarif,  ///< SARIF 2.1.0, for code scanning
};

/// `text`, `json` or `sarif`; nothing for anything else.
std::optional<ReportFormat> report_format(std::string_view name);

/// The whole report, ending in a newline. `path` is what the user calls the file. `descriptors` as
/// in EvaluateOptions. In JSON and SARIF an error is an issue of level ERROR, after the warnings.
/// Errors: Internal as tasks_to_json.
Result<std::string> validate_report(
    const Outcome& outcome, ReportFormat format, std::string_view path,
    const std::shared_ptr<const google::protobuf::DescriptorPool>& descriptors = nullptr);

/// 0: usable, warnings or not; 1: an error. (2 is for wrong usage and unreadable files.) Ours.
int validate_exit_code(const Outcome& outcome);

}  // namespace cirrus::lang
