// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/stop.h"
#include "base/work_pool.h"
#include "controller/blobs/paths.h"
#include "lang/source_tree.h"
#include "model/safe_name.h"
#include "net/http_types.h"

namespace cirrus::controller::http {

/// The bare repositories below the data directory. Every `git` runs without system and user
/// configuration and with our own environment only. Functions that block say so.
class GitHost {
 public:
  GitHost(blobs::Paths paths, WorkPool& pool) : paths_(std::move(paths)), pool_(pool) {}

  /// One request of the smart protocol: `operation` is `info/refs`, `git-upload-pack` or
  /// `git-receive-pack`. A push creates the repository. Whoever calls has checked who asks.
  /// The body was spooled, so a slow client never holds a `git` process while sending.
  void serve(net::ServerRequest request, const model::RepositoryName& repository,
             const std::string& operation, std::shared_ptr<net::Responder> responder);

  /// Blocks. The configuration at a commit: `.cirrus.yml`, else `.cirrus.yaml`.
  /// Errors: NotFound, saying whether repository, commit or file is missing.
  struct Configuration {
    std::string path;
    std::string text;
  };
  Result<Configuration> read_configuration(const model::RepositoryName& repository,
                                           const std::string& commit, const StopToken& stop) const;
  /// Blocks. The files that differ between `base` and `commit`, old and new names of renamed ones;
  /// without a base, or with one that is not there, those that the commit itself changed. From the
  /// point where the two parted if `since_parting`. None if the commit is not there.
  /// Errors: ResourceExhausted if there are too many.
  Result<std::vector<std::string>> changed_files(const model::RepositoryName& repository,
                                                 const std::string& commit, const std::string& base,
                                                 bool since_parting, const StopToken& stop) const;
  /// The files at a commit, for the language. Its methods block.
  std::unique_ptr<lang::SourceTree> tree(const model::RepositoryName& repository,
                                         const std::string& commit, StopToken stop) const;

 private:
  Status ensure_repository(const model::RepositoryName& repository, const StopToken& stop) const;
  void run_backend(const net::ServerRequest& request, const model::RepositoryName& repository,
                   const std::string& operation, net::Responder& responder, const StopToken& stop);

  const blobs::Paths paths_;  // constant after construction
  WorkPool& pool_;            // constant after construction
};

}  // namespace cirrus::controller::http
