// SPDX-License-Identifier: MIT
// What WebDAV clients ask besides GET and PUT. Ours: sccache's WebDAV storage looks for the
// directories of a key, and makes them, before it writes the key.
#pragma once

#include <string>

#include "agent/http_cache/cache_objects.h"
#include "net/http_types.h"

namespace cirrus::agent {

bool is_webdav_method(const std::string& method);

/// PROPFIND and MKCOL. Keys have no directories, so every path that ends in a slash is a directory
/// that is there already, and empty; any other path is looked up (404 on a miss and on any error).
/// `path` is the decoded path without its first slash; it may be empty. Blocks; thread-safe.
net::ServerResponse answer_webdav(const std::string& method, const std::string& path,
                                  CacheObjects& objects, const StopToken& stop);

}  // namespace cirrus::agent
