// SPDX-License-Identifier: MIT
// What a worker's owner says about all containers: the engine, the network, limits. Ours: the
// reference takes them from the engine's own configuration only.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "isolation/container/create_request.h"
#include "isolation/container/engine_search.h"
#include "yaml/strict_map.h"

namespace cirrus::worker {

struct ContainerSettings {
  /// Absent: CIRRUS_CONTAINER_BACKEND, else whichever answers.
  std::optional<isolation::EngineChoice::Kind> engine;
  /// Empty: searched.
  std::string socket;
  isolation::ContainerDefaults defaults;
};

/// Takes the key `container`, if it is there. Errors: InvalidArgument with the position.
Result<ContainerSettings> take_container_settings(yaml::StrictMap& map, const std::string& file);

}  // namespace cirrus::worker
