// SPDX-License-Identifier: MIT
// The evaluation service of the reference, message by message: what its callers get for a request.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "cirrus_evaluator.pb.h"
#include "lang/evaluate.h"

namespace cirrus::lang {

/// Ours: bytes of one request. The configuration in it has its own, smaller bound (`Limits`); the
/// rest is for the files a Dockerfile copies.
constexpr std::size_t kMaxEvaluationRequest = std::size_t{16} << 20;

/// Evaluates exactly as the reference does: none of our own fields, tasks that build images, no
/// instance kinds but the built-in and the given ones. A configuration error with a place is an
/// issue of the answer, which then has no tasks. `starlark_config` becomes one issue, as scripts
/// are not run. Files are those in `fs.memory`; with `fs.github` a Dockerfile cannot be read and
/// the error says so. Cost: about a second and 300 MB at most. Thread-safe.
/// Errors: InvalidArgument for every other configuration error (its text as people see it) and for
/// messages that do not fit together; ResourceExhausted over kMaxEvaluationRequest.
/// Source: reference CLI, evaluator service.
Result<pb::EvaluateConfigResponse> evaluate_request(const pb::EvaluateConfigRequest& request);

/// The schema without our own fields, with the given instance kinds and `fileMatch`.
/// Errors: as above. Source: reference CLI, evaluator service.
Result<pb::JSONSchemaResponse> schema_request(const pb::JSONSchemaRequest& request);

}  // namespace cirrus::lang
