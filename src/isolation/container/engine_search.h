// SPDX-License-Identifier: MIT
// Which engine a worker uses, and keeping a Podman service of our own where none runs.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "isolation/container/engine.h"
#include "os/process.h"

namespace cirrus::isolation {

struct EngineChoice {
  enum class Kind { Auto, Docker, Podman } kind = Kind::Auto;
  /// A socket the owner named; empty: searched.
  std::string socket;
  /// Where a Podman service of ours listens.
  std::filesystem::path run_directory;
  /// DOCKER_HOST, CONTAINER_HOST, XDG_RUNTIME_DIR, HOME, and what a Podman service needs.
  os::Environment environment;
};

/// `auto`, `docker`, `podman`; nothing for anything else. Source: reference worker,
/// CIRRUS_CONTAINER_BACKEND.
std::optional<EngineChoice::Kind> engine_kind(std::string_view name);

/// Sockets to try, the likeliest first, for one kind. Pure.
std::vector<std::string> docker_sockets(const os::Environment& environment);
std::vector<std::string> podman_sockets(const os::Environment& environment, bool root);

/// True if an engine of that choice is likely to be found: a socket is there, or `podman` can be
/// started. Looks, but does not connect.
bool engine_is_likely(const EngineChoice& choice);

/// The engine in use. Thread-safe. Its destructor ends a Podman service that it started; one that a
/// killed worker left behind is used again, and ends by itself when nobody has for a while.
class EngineSearch {
 public:
  explicit EngineSearch(EngineChoice choice) : choice_(std::move(choice)) {}
  ~EngineSearch();
  EngineSearch(const EngineSearch&) = delete;
  EngineSearch& operator=(const EngineSearch&) = delete;

  struct Found {
    std::shared_ptr<ContainerEngine> engine;
    EngineInfo info;
  };
  /// Docker if it answers, else Podman (or the kind that was chosen); starts a Podman service if
  /// need be. Errors: Unavailable, naming everything that was tried; FailedPrecondition for an
  /// engine whose containers run in another kernel, where our socket cannot be mounted.
  Result<Found> get(const StopToken& stop);

 private:
  Result<Found> connect(const std::string& socket, const StopToken& stop);
  Result<std::string> start_podman(const StopToken& stop);

  const EngineChoice choice_;  // constant after construction
  std::mutex mutex_;
  std::optional<Found> found_;          // guarded by mutex_
  std::optional<os::Process> service_;  // guarded by mutex_
};

}  // namespace cirrus::isolation
