// SPDX-License-Identifier: MIT
// Which caches a task reads and which it writes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "controller/blobs/cache_store.h"
#include "controller/core/calls.h"

namespace cirrus::controller::rpc {

/// Where the task writes: the space all builds of its repository share, or, if its build was
/// submitted by a token that is not trusted, a space of that token's own. `@` cannot be part of a
/// repository's name, so no name leads into another one's space.
std::string cache_home(const core::BlobPermit& permit);

/// The exact key, then the prefixes in order; for each the task's own space first, then the shared
/// one. What is written in trust may be read by all, never the other way round.
Result<std::optional<blobs::CacheEntry>> find_cache(blobs::CacheStore& caches,
                                                    const core::BlobPermit& permit,
                                                    const std::string& key,
                                                    const std::vector<std::string>& prefixes);

/// Errors: NotFound.
Result<blobs::CacheReader> open_cache(blobs::CacheStore& caches, const core::BlobPermit& permit,
                                      const std::string& key);

}  // namespace cirrus::controller::rpc
