// SPDX-License-Identifier: MIT
// The language as a JSON Schema, for editors.
#pragma once

#include <string>

#include "lang/evaluate.h"

namespace cirrus::lang {

/// A draft-04 schema with descriptions. Of `options` it uses the instance kinds, task properties,
/// descriptors and `our_extensions`; with none of them the structure equals the reference's, which
/// is looser than the evaluator in places. Source: reference CLI, schema generation.
/// `file_match`: names of the files it is for, as editors and the evaluation service want them;
/// left out if empty.
std::string json_schema(const EvaluateOptions& options,
                        const std::vector<std::string>& file_match = {});

}  // namespace cirrus::lang
