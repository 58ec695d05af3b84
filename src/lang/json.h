// SPDX-License-Identifier: MIT
// Tasks and issues in protobuf's JSON form.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "lang/evaluate.h"

namespace cirrus::lang {

/// A JSON array of tasks, instances of cloud kinds included. `descriptors` as in EvaluateOptions.
/// Errors: Internal if a task holds a message the pool does not know.
Result<std::string> tasks_to_json(
    const std::vector<pb::Task>& tasks,
    const std::shared_ptr<const google::protobuf::DescriptorPool>& descriptors = nullptr);

/// A JSON array of issues; level, message, path, line and column always, `hint` if there is one.
std::string issues_to_json(const std::vector<pb::Issue>& issues);

}  // namespace cirrus::lang
