// SPDX-License-Identifier: MIT
#include "rpc/grpc/blob_server.h"

#include <functional>
#include <memory>

#include <grpcpp/server_context.h>

#include "rpc/grpc/status.h"

namespace cirrus::rpc {
namespace {

// Ours: what a server of the other kind may take to answer a question about one key.
constexpr std::chrono::seconds kAnswerTime{30};

Monotonic answer_deadline() {
  return std::chrono::steady_clock::now() + kAnswerTime;
}

/// Ends the agent's half of a call when the lender wants its store back.
class EndOnStop {
 public:
  EndOnStop(const StopToken& stop, grpc::ServerContext& context)
      : callback_(stop, std::function<void()>([&context] { context.TryCancel(); })) {}

 private:
  StopCallback<std::function<void()>> callback_;
};

Error out_of_order(std::string_view what) {
  return error(Code::InvalidArgument, "{}", what);
}

Status receive_cache(BlobService& service, const StopToken& stop, const std::string& key,
                     grpc::ServerReader<gw::WriteCacheMessage>& reader) {
  const std::unique_ptr<BlobSink> sink = CIRRUS_TRY(service.write_cache(key, stop));
  gw::WriteCacheMessage message;
  while (reader.Read(&message)) {
    if (message.has_end()) return sink->finish();
    if (!message.has_data()) return out_of_order("only bytes and their end may follow the key");
    CIRRUS_TRY(sink->write(message.data()));
  }
  return error(Code::Cancelled, "the agent did not send the cache to its end");
}

void add_files(const gw::WriteArtifactsMessage::Open& open, ArtifactSet& set) {
  for (const auto& file : open.files()) set.files.push_back({file.path(), file.size_in_bytes()});
}

Status receive_artifacts(BlobService& service, const StopToken& stop, const ArtifactSet& set,
                         grpc::ServerReader<gw::WriteArtifactsMessage>& reader) {
  const std::unique_ptr<ArtifactSink> sink = CIRRUS_TRY(service.write_artifacts(set, stop));
  gw::WriteArtifactsMessage message;
  while (reader.Read(&message)) {
    switch (message.message_case()) {
      case gw::WriteArtifactsMessage::kEnd: return sink->finish();
      case gw::WriteArtifactsMessage::kBeginFile: CIRRUS_TRY(sink->begin_file()); break;
      case gw::WriteArtifactsMessage::kData: CIRRUS_TRY(sink->write(message.data())); break;
      default: return out_of_order("only files may follow the list of files");
    }
  }
  return error(Code::Cancelled, "the agent did not send the artifact to its end");
}

}  // namespace

grpc::Status BlobServer::FindCache(grpc::ServerContext*, const gw::FindCacheRequest* request,
                                   gw::FindCacheReply* reply) {
  const Result<BlobLease> lease = service_.lend_blobs(request->caller());
  if (!lease.ok()) return to_grpc(lease.error());
  const Result<std::optional<CacheFound>> found = lease.value().service->find_cache(
      request->key(), {request->prefixes().begin(), request->prefixes().end()}, lease.value().stop,
      answer_deadline());
  if (!found.ok()) return to_grpc(found.error());
  if (found.value()) {
    gw::FoundCache& cache = *reply->mutable_found();
    cache.set_key(found.value()->key);
    cache.set_size_in_bytes(found.value()->bytes);
    cache.set_created_by_task(found.value()->created_by_task);
    cache.set_created_unix_seconds(found.value()->created_unix_seconds);
  }
  return grpc::Status::OK;
}

grpc::Status BlobServer::ReadCache(grpc::ServerContext* context,
                                   const gw::ReadCacheRequest* request,
                                   grpc::ServerWriter<gw::BlobChunk>* writer) {
  const Result<BlobLease> lease = service_.lend_blobs(request->caller());
  if (!lease.ok()) return to_grpc(lease.error());
  const EndOnStop end_on_stop(lease.value().stop, *context);
  const Result<std::unique_ptr<BlobSource>> source =
      lease.value().service->read_cache(request->key(), lease.value().stop);
  if (!source.ok()) return to_grpc(source.error());
  for (;;) {
    Result<std::string> bytes = source.value()->read();
    if (!bytes.ok()) return to_grpc(bytes.error());
    if (bytes.value().empty()) return grpc::Status::OK;
    gw::BlobChunk chunk;
    *chunk.mutable_data() = std::move(bytes).value();
    if (!writer->Write(chunk)) return grpc::Status::CANCELLED;
  }
}

grpc::Status BlobServer::WriteCache(grpc::ServerContext* context,
                                    grpc::ServerReader<gw::WriteCacheMessage>* reader,
                                    gw::BlobStored*) {
  gw::WriteCacheMessage message;
  if (!reader->Read(&message) || !message.has_open()) {
    return to_grpc(out_of_order("the first message must name the cache"));
  }
  const Result<BlobLease> lease = service_.lend_blobs(message.open().caller());
  if (!lease.ok()) return to_grpc(lease.error());
  const EndOnStop end_on_stop(lease.value().stop, *context);
  const Status stored =
      receive_cache(*lease.value().service, lease.value().stop, message.open().key(), *reader);
  return to_grpc(stored);
}

grpc::Status BlobServer::DeleteCache(grpc::ServerContext*, const gw::DeleteCacheCall* request,
                                     gw::BlobStored*) {
  const Result<BlobLease> lease = service_.lend_blobs(request->caller());
  if (!lease.ok()) return to_grpc(lease.error());
  const Status deleted =
      lease.value().service->delete_cache(request->key(), lease.value().stop, answer_deadline());
  return to_grpc(deleted);
}

grpc::Status BlobServer::WriteArtifacts(grpc::ServerContext* context,
                                        grpc::ServerReader<gw::WriteArtifactsMessage>* reader,
                                        gw::BlobStored*) {
  gw::WriteArtifactsMessage message;
  if (!reader->Read(&message) || !message.has_open()) {
    return to_grpc(out_of_order("the first message must name the artifact"));
  }
  const Result<BlobLease> lease = service_.lend_blobs(message.open().caller());
  if (!lease.ok()) return to_grpc(lease.error());
  const EndOnStop end_on_stop(lease.value().stop, *context);
  ArtifactSet set{message.open().name(), message.open().type(), message.open().format(), {}};
  add_files(message.open(), set);
  while (message.open().more_files()) {
    if (!reader->Read(&message) || !message.has_open()) {
      return to_grpc(out_of_order("the list of files was not sent to its end"));
    }
    add_files(message.open(), set);
  }
  const Status stored = receive_artifacts(*lease.value().service, lease.value().stop, set, *reader);
  return to_grpc(stored);
}

}  // namespace cirrus::rpc
