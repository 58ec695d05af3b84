// SPDX-License-Identifier: MIT
// GitMirrors: the worker's copies of repositories, from which its tasks clone.
//
//   <directory>/<address>.full|.shallow/   a bare repository
//   <directory>/<...>.used                 touched at each use
//
// A task's clone comes through its gateway's tunnel, so it works without a network of the task's
// own, and what the worker has already is not fetched again.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/guarded.h"
#include "model/clone_plan.h"
#include "rpc/byte_channel.h"

namespace cirrus::gateway {

/// Thread-safe; calls block. Tasks of one repository take turns to fetch and clone side by side.
class GitMirrors {
 public:
  struct Options {
    std::filesystem::path directory;
    /// By the beginning of an address: the PEM file of the only authorities to trust there.
    std::map<std::string, std::string> authorities = {};
    /// Ours: an unused mirror goes after this.
    std::chrono::hours keep{24 * 30};
    /// How long one fetch may take. Source: reference agent, timeout of its clone requests.
    std::chrono::seconds fetch_time{900};
  };

  explicit GitMirrors(Options options) : options_(std::move(options)) {}

  /// Whether there is a `git` on PATH to do it with.
  static bool possible();
  /// Whether a repository at this address can be mirrored: `http` and `https` only, because other
  /// schemes reach files and programs of this machine.
  static bool takes(const std::string& url);

  /// Brings what `request` asks for into the mirror, with the request's own credential: who may
  /// not read the repository gets nothing of what others left. `words` takes what git says
  /// meanwhile. Errors: FailedPrecondition with git's last line, DeadlineExceeded, Cancelled.
  Status fetch(const model::CloneRequest& request, const StopToken& stop,
               const std::function<void(std::string_view)>& words);

  /// Serves the mirror that `fetch` filled to one git client. `protocol`: what the client says it
  /// speaks (`version=2`), or empty. Errors: NotFound if there is no such mirror.
  Status serve(const model::CloneRequest& request, const std::string& protocol,
               rpc::ByteChannel& client, const StopToken& stop);

  /// Sends the clone that `request` asks for, `.git` and working tree, as a tar stream: for tasks
  /// whose isolation has no git. After `fetch`. Nothing of the repository is run: no hooks, no
  /// filters. `words` takes what git says. Errors: as `fetch`.
  Status send_tree(const model::CloneRequest& request, rpc::ByteChannel& client,
                   const StopToken& stop);

  /// Removes what was not used for long. Called at the worker's start, and after each new mirror.
  void remove_unused();

 private:
  std::filesystem::path place(const model::CloneRequest& request, bool shallow) const;
  /// The mirror that serves a request: the whole one if there is one.
  std::filesystem::path choose(const model::CloneRequest& request) const;
  Status prepare(const std::filesystem::path& mirror, const model::CloneRequest& request,
                 const StopToken& stop);
  std::shared_ptr<std::mutex> lock_of(const std::filesystem::path& mirror);

  const Options options_;
  Guarded<std::map<std::string, std::shared_ptr<std::mutex>>> locks_;
};

}  // namespace cirrus::gateway
