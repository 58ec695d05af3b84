// SPDX-License-Identifier: MIT
// From a bootstrap to the environment and directories a task's steps run in.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/environment.h"
#include "cirrus_gateway.pb.h"
#include "os/temp_dir.h"
#include "rpc/vault_link.h"

namespace cirrus::agent {

/// The inherited environment with the bootstrap's changes and the task's cookie in it.
os::Environment process_environment(os::Environment inherited,
                                    const gateway::v1::Bootstrap& bootstrap);

/// The task's variables with those the agent adds: CIRRUS_OS, CIRRUS_ARCH, OS and, where the task
/// has none, CIRRUS_WORKING_DIR; values kept in Vault are fetched through `vault` (null: there is
/// no way to one) and added to `secrets`. Source: reference agent. Errors: those of Vault.
Result<TaskEnvironment> task_environment(const os::Environment& process,
                                         const gateway::v1::Bootstrap& bootstrap,
                                         rpc::VaultLink* vault, std::vector<std::string>& secrets);

/// Where a task works that was told nothing: `<tmp>/cirrus-ci-build` if that does not exist or the
/// task is being resumed (compiler caches like the fixed name), else a fresh name beside it.
std::string fallback_working_directory(const std::filesystem::path& temporary,
                                       const std::string& task_id, bool resumed);

/// A private directory for script files and CIRRUS_ENV files: the worker's, or one of our own
/// that goes away with this object.
class Scratch {
 public:
  static Result<Scratch> open(const std::string& given);
  const std::filesystem::path& path() const { return path_; }

 private:
  Scratch(std::filesystem::path path, std::optional<os::TempDir> own)
      : path_(std::move(path)), own_(std::move(own)) {}
  std::filesystem::path path_;
  std::optional<os::TempDir> own_;
};

}  // namespace cirrus::agent
