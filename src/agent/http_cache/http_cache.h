// SPDX-License-Identifier: MIT
// HttpCache: the task's caches for its own scripts, over HTTP on loopback.
// Source: reference agent, cache sidecar: `CIRRUS_HTTP_CACHE_HOST`.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "agent/http_cache/actions_cache.h"
#include "agent/http_cache/cache_objects.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/work_pool.h"
#include "net/http_server.h"
#include "rpc/blob_service.h"

namespace cirrus::agent {

/// Serves one task, with that task's authority, until it is destroyed.
///
///   GET HEAD PUT POST DELETE /{key}    no credential: scripts have none to send
///   PROPFIND MKCOL /{path}             as far as WebDAV clients need them to write
///   /_apis/artifactcache/...           GitHub Actions cache, version 1, with the task's token
///   /metrics/cache                     what was transferred
class HttpCache {
 public:
  /// The port scripts know. Source: reference documentation; another one if it is taken.
  static constexpr int kUsualPort = 12321;

  struct Options {
    /// For bodies on their way; private to the task.
    std::filesystem::path spool_directory;
    /// Set where processes of other users reach this loopback: only peers of this user (and root)
    /// are served.
    std::optional<uid_t> only_uid = std::nullopt;
  };

  /// Listens, so that the port can be told; connections wait until start(). `blobs` must outlive
  /// this. Errors: those of the socket.
  static Result<std::unique_ptr<HttpCache>> listen(Options options, rpc::BlobService& blobs);
  ~HttpCache();

  /// `127.0.0.1:port`.
  std::string host() const;
  /// What a client of the GitHub-style routes has to send as its bearer.
  const Secret& token() const { return token_; }
  /// Begins to serve. Errors: Internal.
  Status start();

 private:
  HttpCache(Options options, os::Fd listener, rpc::BlobService& blobs);
  void admit(const net::ServerRequest& head,
             const std::function<void(net::Admission)>& decided) const;
  void handle(net::ServerRequest request, std::shared_ptr<net::Responder> responder);
  net::ServerResponse metrics(const net::ServerRequest& request);

  const Options options_;
  const int port_;
  const Secret token_;
  os::Fd listener_;  // until start()
  CacheObjects objects_;
  ActionsCache actions_;
  // Destroyed first, in this order: the server hands out no more work, then the work ends.
  WorkPool pool_;
  std::unique_ptr<net::HttpServer> server_;
};

}  // namespace cirrus::agent
