// SPDX-License-Identifier: MIT
#include "controller/rpc/cache_spaces.h"

namespace cirrus::controller::rpc {

std::string cache_home(const core::BlobPermit& permit) {
  if (permit.cache_space.empty()) return permit.repository;
  return permit.repository + "@" + permit.cache_space;
}

Result<std::optional<blobs::CacheEntry>> find_cache(blobs::CacheStore& caches,
                                                    const core::BlobPermit& permit,
                                                    const std::string& key,
                                                    const std::vector<std::string>& prefixes) {
  const std::string home = cache_home(permit);
  if (home == permit.repository) return caches.find(home, key, prefixes);
  for (const std::string& space : {home, permit.repository}) {
    std::optional<blobs::CacheEntry> exact = CIRRUS_TRY(caches.find(space, key, {}));
    if (exact) return exact;
  }
  std::optional<blobs::CacheEntry> own = CIRRUS_TRY(caches.find(home, key, prefixes));
  if (own) return own;
  return caches.find(permit.repository, key, prefixes);
}

Result<blobs::CacheReader> open_cache(blobs::CacheStore& caches, const core::BlobPermit& permit,
                                      const std::string& key) {
  const std::string home = cache_home(permit);
  Result<blobs::CacheReader> own = caches.open(home, key);
  if (own.ok() || own.error().code() != Code::NotFound || home == permit.repository) return own;
  return caches.open(permit.repository, key);
}

}  // namespace cirrus::controller::rpc
