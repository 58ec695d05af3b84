// SPDX-License-Identifier: MIT
// Reading flags' environment variables and secrets' files.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/secret.h"

namespace cirrus::cli {

/// The variable's value; absent if unset or empty.
std::optional<std::string> variable(const std::string& name);

/// `NAME`, or the content of the file `NAME_FILE` names (white space at both ends removed).
/// Errors: InvalidArgument if the file cannot be read.
Result<std::optional<Secret>> secret_variable(const std::string& name);

/// The content of a secret's file without white space at both ends. Errors: as reading it.
Result<Secret> read_secret_file(const std::string& path);

}  // namespace cirrus::cli
