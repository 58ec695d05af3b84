// SPDX-License-Identifier: MIT
// ActionsCache: the GitHub Actions cache protocol, version 1, which BuildKit, sccache and others
// speak. Source: reference agent, cache sidecar.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "agent/http_cache/cache_objects.h"
#include "base/guarded.h"
#include "net/http_types.h"
#include "os/fd.h"

namespace cirrus::agent {

/// Reserved uploads are put together on disk and stored when they are committed. Thread-safe; calls
/// block.
class ActionsCache {
 public:
  static constexpr std::string_view kBase = "/_apis/artifactcache/";
  /// Ours: uploads that are open at a time.
  static constexpr std::size_t kMostUploads = 256;

  ActionsCache(CacheObjects& objects, std::filesystem::path directory)
      : objects_(objects), directory_(std::move(directory)) {}

  /// `base_url` is where the client reaches this server, for the addresses it is told.
  net::ServerResponse answer(const net::ServerRequest& request, const std::string& base_url,
                             const StopToken& stop);

 private:
  struct Upload {
    std::string key;  ///< as it is stored
    std::filesystem::path path;
    os::Fd file;
    std::map<std::uint64_t, std::uint64_t> parts;  ///< first byte to one past the last; disjoint
    bool committing = false;
    ~Upload();
  };
  using Uploads = std::map<std::uint64_t, std::shared_ptr<Upload>>;

  net::ServerResponse look_up(const net::ServerRequest& request, const std::string& base_url,
                              const StopToken& stop);
  net::ServerResponse reserve(const net::ServerRequest& request, const StopToken& stop);
  net::ServerResponse receive(std::uint64_t id, const net::ServerRequest& request);
  net::ServerResponse commit(std::uint64_t id, const net::ServerRequest& request,
                             const StopToken& stop);
  std::shared_ptr<Upload> find(std::uint64_t id);

  CacheObjects& objects_;
  const std::filesystem::path directory_;
  Guarded<Uploads> uploads_;
};

}  // namespace cirrus::agent
