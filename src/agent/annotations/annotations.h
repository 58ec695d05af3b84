// SPDX-License-Identifier: MIT
// What reports of tests and linters say, as annotations. Source: reference agent, `format:` of
// artifacts.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/annotations/path_index.h"
#include "base/result.h"
#include "cirrus_agent.pb.h"

namespace cirrus::agent {

namespace wire = org::cirruslabs::ci::services::cirruscigrpc;

/// Ours: a larger report is refused, because it is read as a whole.
inline constexpr std::size_t kMaxReport = 16U << 20U;
/// Ours: more findings of one step help nobody; the rest is counted.
inline constexpr std::size_t kMaxAnnotations = 5000;

/// The findings of one report, in its order.
struct Report {
  /// kMaxAnnotations at most.
  std::vector<wire::Annotation> annotations;
  std::size_t left_out = 0;
  /// Tests that passed: counted, not listed. Ours: the reference sends a notice for each.
  std::size_t passed = 0;

  void add(wire::Annotation one) {
    if (annotations.size() < kMaxAnnotations) {
      annotations.push_back(std::move(one));
    } else {
      ++left_out;
    }
  }
};

/// Reads one report. An unknown format has no findings, and so no error. Source: reference agent.
/// `format` in any case. Errors: InvalidArgument with the place for a report that cannot be read.
/// Paths are not yet fixed.
Result<Report> read_report(std::string_view format, std::string_view text);

/// Whether `read_report` knows the format.
bool is_report_format(std::string_view format);

/// Makes the paths of findings relative to the working directory and finds files that a report
/// names from elsewhere. Source: reference agent.
void fix_paths(std::vector<wire::Annotation>& annotations, const PathIndex& index);

}  // namespace cirrus::agent
