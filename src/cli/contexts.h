// SPDX-License-Identifier: MIT
// Saved controllers: which, as whom. `$XDG_CONFIG_HOME/cirrus/contexts.yml`, mode 0600.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/secret.h"

namespace cirrus::cli {

struct Context {
  std::string url;
  Secret token;
  std::string ca_file;  ///< empty: the system's certificates
};

struct Contexts {
  std::map<std::string, Context> known;
  std::string current;  ///< one of `known`, or empty
};

std::filesystem::path contexts_file();

/// No file is no contexts. Errors: PermissionDenied if others may read it (it holds tokens);
/// InvalidArgument with the place if it is not as we write it.
Result<Contexts> load_contexts(const std::filesystem::path& file);
Status save_contexts(const std::filesystem::path& file, const Contexts& contexts);

/// Letters, digits, `-`, `_` and `.`, at most 64. Errors: InvalidArgument.
Status check_context_name(const std::string& name);

}  // namespace cirrus::cli
