// SPDX-License-Identifier: MIT
// Which local files a Dockerfile copies.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cirrus::lang {

/// The sources of COPY and ADD that come from the build context, for the stages the last stage
/// needs: variables substituted, without leading and trailing `/`, sorted, each once. URLs, here
/// documents and copies from other stages are left out.
/// Errors: InvalidArgument `line N: ...` if the text is no Dockerfile.
/// Source: reference CLI, Dockerfile hashing.
Result<std::vector<std::string>> copied_paths(std::string_view dockerfile,
                                              const std::map<std::string, std::string>& arguments);

}  // namespace cirrus::lang
