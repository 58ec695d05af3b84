// SPDX-License-Identifier: MIT
// Caches and artifacts on their way between an agent and the blob stores.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <grpcpp/grpcpp.h>

#include "base/work_pool.h"
#include "cirrus_agent.pb.h"
#include "controller/blobs/stores.h"
#include "controller/core/core.h"
#include "google/bytestream/bytestream.grpc.pb.h"

namespace cirrus::controller::rpc {

namespace api = org::cirruslabs::ci::services::cirruscigrpc;

/// Everything a transfer needs; all of it outlives every call.
struct BlobParts {
  core::Core& core;
  blobs::Stores& stores;
  WorkPool& pool;
};

/// Asks the core who calls, and runs `permitted` on the pool, where it may block. A refusal comes
/// from the loop's thread or the caller's, at once.
void with_permit(const BlobParts& parts, const grpc::CallbackServerContext& context,
                 std::function<void(Result<core::BlobPermit>)> permitted);

/// The byte stream service behind the `grpc://` addresses of caches: the resource is the key, the
/// repository is that of the calling task.
class ByteStreamService final : public google::bytestream::ByteStream::CallbackService {
 public:
  explicit ByteStreamService(BlobParts parts) : parts_(parts) {}
  grpc::ServerWriteReactor<google::bytestream::ReadResponse>* Read(
      grpc::CallbackServerContext* context,
      const google::bytestream::ReadRequest* request) override;
  grpc::ServerReadReactor<google::bytestream::WriteRequest>* Write(
      grpc::CallbackServerContext* context, google::bytestream::WriteResponse* response) override;

 private:
  const BlobParts parts_;
};

/// One UploadArtifacts call. Deletes itself.
grpc::ServerReadReactor<api::ArtifactEntry>* receive_artifacts(
    const BlobParts& parts, grpc::CallbackServerContext& context,
    api::UploadArtifactsResponse& response);

}  // namespace cirrus::controller::rpc
