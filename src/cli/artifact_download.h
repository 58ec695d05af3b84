// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/api_client.h"

namespace cirrus::cli {

/// Which artifact goes where.
struct ArtifactTarget {
  std::string task;
  std::string artifact;
  std::filesystem::path into;
  bool force = false;  ///< replace what is there
};

/// One file (as the API lists it: `path`, `size`) to its place below `into`, under another name
/// until it is complete. Errors: AlreadyExists; InvalidArgument for a path that leaves `into`;
/// DataLoss if bytes are missing.
Status download_artifact_file(const ApiClient& api, const ArtifactTarget& target,
                              const nlohmann::json& file);

}  // namespace cirrus::cli
