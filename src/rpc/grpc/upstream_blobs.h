// SPDX-License-Identifier: MIT
// A task's caches and artifacts, as a server takes them. Source: protocol §9 and §10.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/channel.h>

#include "cirrus_agent.grpc.pb.h"
#include "rpc/endpoint.h"
#include "rpc/task_service.h"

namespace cirrus::rpc {

/// Makes a channel to an address the server named.
using Dial = std::function<Result<std::shared_ptr<grpc::Channel>>(const Endpoint& endpoint)>;

/// Where the bytes of one cache may be. `http` and `https` addresses are plain transfers; `grpc`,
/// `grpcs` and `unix` mean the byte stream service behind that endpoint.
/// Errors: InvalidArgument for any other scheme.
struct BlobAddress {
  std::string http;  ///< empty unless it is a plain transfer
  Endpoint byte_stream;
  static Result<BlobAddress> parse(const std::string& url);
};

/// Caches go by byte stream when the server's addresses say so, else by HTTP. Artifacts go by HTTP
/// where the server hands out addresses, else in one gRPC stream.
class UpstreamBlobs final : public BlobService {
 public:
  UpstreamBlobs(std::shared_ptr<grpc::Channel> control, std::shared_ptr<grpc::Channel> bulk,
                Endpoint endpoint, Dial dial, TaskCredential credential);

  Result<std::optional<CacheFound>> find_cache(const std::string& key,
                                               const std::vector<std::string>& prefixes,
                                               const StopToken& stop, Monotonic deadline) override;
  Result<std::unique_ptr<BlobSource>> read_cache(const std::string& key,
                                                 const StopToken& stop) override;
  Result<std::unique_ptr<BlobSink>> write_cache(const std::string& key,
                                                const StopToken& stop) override;
  Status delete_cache(const std::string& key, const StopToken& stop, Monotonic deadline) override;
  Result<std::unique_ptr<ArtifactSink>> write_artifacts(const ArtifactSet& set,
                                                        const StopToken& stop) override;

 private:
  pb::CacheKey key_message(const std::string& key) const;
  Result<std::shared_ptr<grpc::Channel>> channel_to(const Endpoint& endpoint);

  const std::shared_ptr<grpc::Channel> bulk_channel_;
  const std::unique_ptr<pb::CirrusCIService::Stub> control_;
  const std::unique_ptr<pb::CirrusCIService::Stub> bulk_;
  const Endpoint endpoint_;
  const Dial dial_;
  const TaskCredential credential_;
};

}  // namespace cirrus::rpc
