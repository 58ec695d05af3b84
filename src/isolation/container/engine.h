// SPDX-License-Identifier: MIT
// ContainerEngine: what this folder needs of Docker or Podman.
//
// Thread-safe. Every call may block until its deadline or the stop. Errors: Unavailable if the
// engine cannot be reached, NotFound if it does not know the thing, otherwise its own sentence as
// FailedPrecondition or InvalidArgument. Removing what is gone is success. What was created is the
// caller's to remove; everything carries the labels it was given.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/stop.h"
#include "os/fd.h"

namespace cirrus::isolation {

using Labels = std::map<std::string, std::string>;

struct EngineInfo {
  std::string name;  ///< `Docker 20.10.24`, `Podman 4.3.1`: for people
  bool podman = false;
  int processors = 0;
  std::uint64_t memory_bytes = 0;
  std::string kernel_version;  ///< of the machine that runs the containers
  std::string operating_system;
};

struct ImageInfo {
  std::string id;
  std::string user;  ///< empty: root
  Labels labels;
};

struct ContainerState {
  bool running = false;
  std::int64_t pid = 0;  ///< on the engine's host; 0 if it does not run
  int exit_code = 0;
  bool out_of_memory = false;  ///< as the engine says; Podman never does
  std::string error;
};

struct CommandEnd {
  int exit_code = 0;
  std::string output;
};

class ContainerEngine {
 public:
  virtual ~ContainerEngine() = default;

  virtual Result<EngineInfo> info(const StopToken& stop) = 0;

  /// Nothing if the engine has no such image.
  virtual Result<std::optional<ImageInfo>> find_image(const std::string& name,
                                                      const StopToken& stop) = 0;
  /// `login` is the JSON of an AuthConfig, empty for none. `on_line` gets each status message.
  virtual Status pull(const std::string& name, const std::string& login,
                      const std::function<void(std::string_view line)>& on_line,
                      const StopToken& stop) = 0;
  struct BuildRequest {
    std::string name;        ///< of the image made
    std::string context;     ///< a tar
    std::string dockerfile;  ///< its path in there
    std::map<std::string, std::string> arguments;
    Labels labels;
  };
  virtual Status build(const BuildRequest& request,
                       const std::function<void(std::string_view line)>& on_line,
                       const StopToken& stop) = 0;

  /// `request` is the JSON of the create call; returns the container's id.
  virtual Result<std::string> create(const std::string& name, const std::string& request,
                                     const StopToken& stop) = 0;
  /// The container's standard input, from before its start.
  virtual Result<os::Fd> attach_input(const std::string& id, const StopToken& stop) = 0;
  virtual Status start(const std::string& id, const StopToken& stop) = 0;
  virtual Result<ContainerState> inspect(const std::string& id, const StopToken& stop) = 0;
  /// Runs a command inside and waits for it.
  virtual Result<CommandEnd> run_inside(const std::string& id,
                                        const std::vector<std::string>& command,
                                        const StopToken& stop) = 0;
  virtual Status send_signal(const std::string& id, const std::string& signal) = 0;
  /// The end of what it printed, for people.
  virtual Result<std::string> last_output(const std::string& id) = 0;
  /// By force, with its anonymous volumes.
  virtual Status remove(const std::string& id) = 0;
  /// Unpacks a tar below `path`, which must exist.
  virtual Status put_files(const std::string& id, const std::string& path, const std::string& tar,
                           const StopToken& stop) = 0;

  virtual Status create_volume(const std::string& name, const Labels& labels,
                               const StopToken& stop) = 0;
  virtual Status remove_volume(const std::string& name) = 0;

  struct Labelled {
    std::string id;
    Labels labels;
  };
  /// All containers, also ended ones, and all volumes with `label` (`key=value`).
  virtual Result<std::vector<Labelled>> containers_with(const std::string& label,
                                                        const StopToken& stop) = 0;
  virtual Result<std::vector<Labelled>> volumes_with(const std::string& label,
                                                     const StopToken& stop) = 0;
};

}  // namespace cirrus::isolation
