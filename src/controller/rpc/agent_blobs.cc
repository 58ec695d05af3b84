// SPDX-License-Identifier: MIT
// AgentService: caches and artifacts. Source: protocol §9 and §10.
#include "controller/rpc/agent_service.h"
#include "controller/rpc/cache_spaces.h"
#include "controller/rpc/call_metadata.h"
#include "model/archive_mark.h"
#include "rpc/endpoint.h"
#include "rpc/peer.h"

namespace cirrus::controller::rpc {

namespace {

/// Whether this cache is one its caller cannot unpack: a reference agent reads gzip only.
bool is_foreign(const grpc::CallbackServerContext& context, blobs::CacheStore& caches,
                const core::BlobPermit& permit, const std::string& key) {
  if (!header(context, cirrus::rpc::kFeatures).empty()) return false;
  const Result<blobs::CacheReader> cache = open_cache(caches, permit, key);
  if (!cache.ok()) return false;
  const Result<std::string> head = cache.value().read(0, model::kArchiveMark.size());
  return head.ok() && head.value() == model::kArchiveMark;
}

void fill(const blobs::CacheEntry& entry, api::CacheInfo& info) {
  info.set_key(entry.key);
  info.set_size_in_bytes(static_cast<std::int64_t>(entry.bytes));
  info.set_creation_timestamp(entry.created_millis / 1000);
  info.set_created_by_task_id(entry.created_by_task);
}

}  // namespace

grpc::ServerReadReactor<api::ArtifactEntry>* AgentService::UploadArtifacts(
    grpc::CallbackServerContext* context, api::UploadArtifactsResponse* response) {
  return receive_artifacts(parts_, *context, *response);
}

grpc::ServerUnaryReactor* AgentService::CacheInfo(grpc::CallbackServerContext* context,
                                                  const api::CacheInfoRequest* request,
                                                  api::CacheInfoResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  with_permit(parts_, *context,
              [this, context, reactor, request, response](Result<core::BlobPermit> permit) {
                if (!permit.ok()) return reactor->Finish(to_status(permit));
                const Result<std::optional<blobs::CacheEntry>> found = find_cache(
                    parts_.stores.caches, permit.value(), request->cache_key(),
                    {request->cache_key_prefixes().begin(), request->cache_key_prefixes().end()});
                if (!found.ok()) return reactor->Finish(to_disk_status(found));
                if (!found.value() || is_foreign(*context, parts_.stores.caches, permit.value(),
                                                 found.value()->key)) {
                  return reactor->Finish({grpc::StatusCode::NOT_FOUND, "no such cache"});
                }
                fill(*found.value(), *response->mutable_info());
                reactor->Finish(grpc::Status::OK);
              });
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::DeleteCache(grpc::CallbackServerContext* context,
                                                    const api::DeleteCacheRequest* request,
                                                    api::DeleteCacheResponse*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  with_permit(parts_, *context, [this, reactor, request](Result<core::BlobPermit> permit) {
    if (!permit.ok()) return reactor->Finish(to_status(permit));
    reactor->Finish(to_disk_status(
        parts_.stores.caches.remove(cache_home(permit.value()), request->cache_key())));
  });
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::GenerateCacheUploadURL(grpc::CallbackServerContext* context,
                                                               const api::CacheKey* request,
                                                               api::GenerateURLResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  with_permit(parts_, *context,
              [context, reactor, request, response](Result<core::BlobPermit> permit) {
                if (!permit.ok()) return reactor->Finish(to_status(permit));
                const Status key = blobs::CacheStore::check_key(request->cache_key());
                if (!key.ok()) return reactor->Finish(to_status(key));
                Result<std::string> address =
                    cirrus::rpc::cache_address(header(*context, cirrus::rpc::kApiEndpoint));
                if (address.ok()) response->set_url(std::move(address).value());
                reactor->Finish(to_status(address));
              });
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::GenerateCacheDownloadURLs(
    grpc::CallbackServerContext* context, const api::CacheKey* request,
    api::GenerateURLsResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  with_permit(parts_, *context,
              [this, context, reactor, request, response](Result<core::BlobPermit> permit) {
                if (!permit.ok()) return reactor->Finish(to_status(permit));
                const Result<std::optional<blobs::CacheEntry>> found =
                    find_cache(parts_.stores.caches, permit.value(), request->cache_key(), {});
                if (!found.ok()) return reactor->Finish(to_disk_status(found));
                if (!found.value() || is_foreign(*context, parts_.stores.caches, permit.value(),
                                                 found.value()->key)) {
                  return reactor->Finish({grpc::StatusCode::NOT_FOUND, "no such cache"});
                }
                Result<std::string> address =
                    cirrus::rpc::cache_address(header(*context, cirrus::rpc::kApiEndpoint));
                if (address.ok()) response->add_urls(std::move(address).value());
                reactor->Finish(to_status(address));
              });
  return reactor;
}

}  // namespace cirrus::controller::rpc
