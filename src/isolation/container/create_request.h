// SPDX-License-Identifier: MIT
// What the engine is asked to make for a task. Pure: no engine, no file system.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "isolation/container/engine.h"
#include "isolation/isolation.h"

namespace cirrus::isolation {

/// Paths inside every task container. Source of the prefix: reference worker, isolation container.
struct ContainerPaths {
  static constexpr const char* kAgent = "/tmp/cirrus-ci/cirrus-agent";
  static constexpr const char* kGateway = "/tmp/cirrus-ci/guest";
  static constexpr const char* kWorkingDirectory = "/tmp/cirrus-ci/working-dir";
  static constexpr const char* kScratch = "/tmp/cirrus-ci/scratch";
};

/// A container a task wants. Amounts of 0 are no limit.
struct ContainerSpec {
  struct Volume {
    std::string source;
    std::string target;
    bool read_only = false;
  };
  struct Port {
    std::uint32_t container = 0;
    std::uint32_t host = 0;  ///< 0: not published
  };
  /// Runs beside the task's own, in its network.
  struct Companion {
    std::string name;
    std::string image;
    double cpu = 0;
    std::uint64_t memory_mib = 0;
    std::map<std::string, std::string> environment;
    std::vector<std::string> command;
    std::vector<std::string> readiness_command;
    bool privileged = false;
    std::vector<Port> ports;
  };
  std::string image;
  double cpu = 0;
  std::uint64_t memory_mib = 0;
  std::vector<Volume> volumes;
  std::vector<Companion> companions;
  bool privileged = false;
  /// JSON of a Docker configuration with credentials for this task's images; empty: the worker's.
  std::string registry_config;
};

/// What this worker's owner decided for all containers.
struct ContainerDefaults {
  enum class Pull { IfNotPresent, Always, Never } pull = Pull::IfNotPresent;
  /// The engine's name for it (`none`, `host`, a network's name); empty: its default.
  std::string network;
  struct Limit {
    std::string name;
    std::int64_t soft = 0;
    std::int64_t hard = 0;
  };
  std::vector<Limit> ulimits;
  /// In addition to `label=disable`, or instead of it if one of them begins with `label=`.
  std::vector<std::string> security_options;
};

/// Errors: InvalidArgument with a sentence for a name no registry could hold. What is let through
/// consists of letters, digits and `._:/@-`, and begins with a letter or digit.
Status check_image_name(const std::string& name);
/// Errors: InvalidArgument: not absolute, with a `..`, a newline or a zero byte, or a target that
/// would cover what we mount.
Status check_volume(const ContainerSpec::Volume& volume);

/// The spec within what the engine has, and a sentence for each thing that had to be reduced.
/// An amount of 0 means no limit. 64-bit arithmetic: 128 GiB is 128 GiB.
ContainerSpec clamp(ContainerSpec spec, const EngineInfo& engine,
                    std::vector<std::string>& notices);

/// The JSON of the create call for the task's own container.
std::string create_request(const LaunchRequest& request, const ContainerSpec& spec,
                           const ContainerDefaults& defaults, const std::string& working_volume,
                           const Labels& labels);
/// The same for one that runs beside it in the network of container `main`.
std::string companion_request(const ContainerSpec::Companion& companion,
                              const ContainerDefaults& defaults, const std::string& main,
                              const Labels& labels);

}  // namespace cirrus::isolation
