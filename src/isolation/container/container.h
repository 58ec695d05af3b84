// SPDX-License-Identifier: MIT
// Isolation `container`: the agent is the first process of a container of Docker or Podman.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "isolation/container/create_request.h"
#include "isolation/container/engine_search.h"
#include "isolation/isolation.h"

namespace cirrus::isolation {

struct ContainerOptions {
  EngineChoice engine;
  ContainerDefaults defaults;
  /// Goes onto everything that is made as a label, so that exactly ours is removed after a crash.
  /// The same for every life of one worker.
  std::string owner;
  /// A file that exists once containers were made; without it nothing is searched at start.
  std::filesystem::path marker;
};

class ContainerIsolation : public Isolation {
 public:
  /// Removes containers and volumes of this owner whose task is not in `live_tasks`: what a killed
  /// worker left. Does nothing, and starts no engine, if this worker never ran a container.
  /// Errors are logged: a worker without its engine still runs other tasks.
  virtual void remove_leftovers(const LiveTasks& live_tasks) = 0;
};

/// Never blocks: the engine is looked for by the first task.
std::unique_ptr<ContainerIsolation> make_container(ContainerOptions options);

/// The container a task wants: what its isolation says, and what a plain container says beyond.
ContainerSpec container_spec(const LaunchRequest& request);

}  // namespace cirrus::isolation
