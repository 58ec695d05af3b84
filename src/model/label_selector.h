// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/result.h"

namespace cirrus::model {

/// Ordered, so that every message that lists labels is the same on every run.
using Labels = std::map<std::string, std::string, std::less<>>;

/// Why one worker cannot take one task; shown on the waiting task's page.
struct LabelMismatch {
  std::string key;
  std::string wanted;
  std::optional<std::string> offered;  ///< empty: the worker has no such label
};

/// The labels a task demands of a worker. Immutable, so safe to share between
/// threads. Ours: exact, case-sensitive (the public docs only show equality).
class LabelSelector {
 public:
  static constexpr std::size_t kMaxBytes = 256;  ///< Ours.

  LabelSelector() = default;
  /// Errors: InvalidArgument, naming the label, if a key is empty or too long.
  static Result<LabelSelector> create(Labels wanted);

  /// The first demand, in key order, that `offered` fails; nullopt if the
  /// worker may run the task. O(demands * log(offered)).
  std::optional<LabelMismatch> first_mismatch(const Labels& offered) const;
  /// How many demands `offered` fails; 0 if the worker may run the task.
  std::size_t mismatch_count(const Labels& offered) const;
  const Labels& wanted() const { return wanted_; }

 private:
  explicit LabelSelector(Labels wanted) : wanted_(std::move(wanted)) {}
  Labels wanted_;  // constant after construction
};

}  // namespace cirrus::model
