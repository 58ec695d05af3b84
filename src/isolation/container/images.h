// SPDX-License-Identifier: MIT
// Images: what a task's container is made of is in the engine before the container is made.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "isolation/container/create_request.h"
#include "isolation/container/engine.h"
#include "isolation/isolation.h"
#include "os/process.h"

namespace cirrus::isolation {

/// Finds, pulls or builds images. Thread-safe; tasks that want the same image at the same time
/// fetch it once.
class Images {
 public:
  /// `environment`: the worker's, for the credentials of registries.
  Images(ContainerDefaults::Pull pull, os::Environment environment)
      : pull_(pull), environment_(std::move(environment)) {}

  /// The image of `spec`. With a Dockerfile it is built from the task's commit, unless the engine
  /// has one of that name that was built for the same repository: the name carries the hash of
  /// everything the language saw go in. A pulled image never stands in for a built one.
  /// What happens goes to `request.notice`. Errors: NotFound without an image, the engine's
  /// sentence, or why a build could not begin.
  Result<ImageInfo> provide(ContainerEngine& engine, const ContainerSpec& spec,
                            const LaunchRequest& request, const StopToken& stop);

  /// The image of a container beside the task's: found or pulled.
  Status provide_companion(ContainerEngine& engine, const std::string& image,
                           const ContainerSpec& spec, const LaunchRequest& request,
                           const StopToken& stop);

 private:
  using Lock = std::unique_lock<std::timed_mutex>;
  Result<ImageInfo> pulled(ContainerEngine& engine, const std::string& name,
                           const ContainerSpec& spec, const LaunchRequest& request,
                           const StopToken& stop);
  Result<ImageInfo> built(ContainerEngine& engine, const ContainerSpec& spec,
                          const LaunchRequest& request, const StopToken& stop);
  // Who asks for an image first fetches it; the others wait, or leave on stop (Cancelled).
  Result<Lock> lock(const std::string& image, const LaunchRequest& request, const StopToken& stop);

  const ContainerDefaults::Pull pull_;
  const os::Environment environment_;
  std::mutex mutex_;
  std::map<std::string, std::timed_mutex> locks_;  // guarded by mutex_; the entries stay
};

}  // namespace cirrus::isolation
