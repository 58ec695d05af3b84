// SPDX-License-Identifier: MIT
// Caches and artifacts at addresses a server hands out. Source: protocol §9 and §10.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rpc/blob_service.h"

namespace cirrus::rpc {

using HttpHeaders = std::map<std::string, std::string>;

/// Downloads `url`. The answer must be 200; anything else is NotFound at the first read.
std::unique_ptr<BlobSource> http_source(std::string url, const StopToken& stop);

/// Collects an upload in a temporary file, because its size must be announced, and sends it with
/// one PUT, which is tried again when the server is away. Errors: those of the temporary file.
Result<std::unique_ptr<BlobSink>> http_sink(std::string url, HttpHeaders headers,
                                            const StopToken& stop);

/// Where the files of an artifact go, in their order.
struct UploadAddress {
  std::string url;
  HttpHeaders headers;
};

/// Sends each file of `set` to its address. Small ones wait in memory and go several at a time,
/// each tried again if that fails; a large one is sent as it comes. `commit` publishes the set.
std::unique_ptr<ArtifactSink> http_artifacts(ArtifactSet set, std::vector<UploadAddress> addresses,
                                             std::function<Status()> commit, const StopToken& stop);

}  // namespace cirrus::rpc
