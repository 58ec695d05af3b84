// SPDX-License-Identifier: MIT
// The gateway's side of cirrus.gateway.v1.Blobs over gRPC.
#pragma once

#include "cirrus_gateway.grpc.pb.h"
#include "rpc/gateway_service.h"

namespace cirrus::rpc {

/// Hands an agent's caches and artifacts on to the store its gateway lends, a chunk at a time: a
/// slow reader or writer on one side slows the other. The library gives every call a thread, which
/// is what makes that possible.
class BlobServer final : public gw::Blobs::Service {
 public:
  explicit BlobServer(GatewayService& service) : service_(service) {}
  grpc::Status FindCache(grpc::ServerContext* context, const gw::FindCacheRequest* request,
                         gw::FindCacheReply* reply) override;
  grpc::Status ReadCache(grpc::ServerContext* context, const gw::ReadCacheRequest* request,
                         grpc::ServerWriter<gw::BlobChunk>* writer) override;
  grpc::Status WriteCache(grpc::ServerContext* context,
                          grpc::ServerReader<gw::WriteCacheMessage>* reader,
                          gw::BlobStored* reply) override;
  grpc::Status DeleteCache(grpc::ServerContext* context, const gw::DeleteCacheCall* request,
                           gw::BlobStored* reply) override;
  grpc::Status WriteArtifacts(grpc::ServerContext* context,
                              grpc::ServerReader<gw::WriteArtifactsMessage>* reader,
                              gw::BlobStored* reply) override;

 private:
  GatewayService& service_;
};

}  // namespace cirrus::rpc
