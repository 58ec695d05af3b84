// SPDX-License-Identifier: MIT
#include "rpc/grpc/blob_client.h"

#include <algorithm>
#include <functional>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "cirrus_gateway.grpc.pb.h"
#include "rpc/grpc/status.h"

namespace cirrus::rpc {
namespace {

namespace gw = cirrus::gateway::v1;

// Ours: bytes of a chunk, and files of one message of an artifact's list.
constexpr std::size_t kChunk = 256 * 1024;
constexpr std::size_t kFilesAtOnce = 5000;

/// One call's context: cancelled on stop.
struct Call {
  explicit Call(const StopToken& stop)
      : on_stop(stop, std::function<void()>([this] { context.TryCancel(); })) {}
  grpc::ClientContext context;
  StopCallback<std::function<void()>> on_stop;

  void set_deadline(Monotonic deadline) {
    const auto left = deadline - std::chrono::steady_clock::now();
    context.set_deadline(system_clock().wall() +
                         std::chrono::duration_cast<std::chrono::system_clock::duration>(left));
  }
};

/// Keeps a stream's call alive and ends it; `Stream` is a ClientReader or ClientWriter.
template <typename Stream>
class Transfer {
 protected:
  Transfer(std::unique_ptr<gw::Blobs::Stub> stub, const StopToken& stop)
      : stub_(std::move(stub)), call_(stop) {}
  ~Transfer() {
    if (!stream_ || finished_) return;
    call_.context.TryCancel();
    (void)stream_->Finish();
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// The server's word; after a message was refused, why.
  Status end() {
    if (finished_) return error(Code::FailedPrecondition, "the transfer has ended");
    finished_ = true;
    return from_grpc(stream_->Finish());
  }
  /// The stream took nothing more: the server's reason.
  Status broken() {
    Status status = end();
    if (status.ok()) return error(Code::Unavailable, "the transfer was ended by the worker");
    return status;
  }

  std::unique_ptr<gw::Blobs::Stub> stub_;
  Call call_;
  std::unique_ptr<Stream> stream_;
  bool finished_ = false;
};

class CacheSource final : public BlobSource, private Transfer<grpc::ClientReader<gw::BlobChunk>> {
 public:
  CacheSource(std::unique_ptr<gw::Blobs::Stub> stub, const gw::ReadCacheRequest& request,
              const StopToken& stop)
      : Transfer(std::move(stub), stop) {
    stream_ = stub_->ReadCache(&call_.context, request);
  }
  Result<std::string> read() override {
    if (finished_) return std::string();
    gw::BlobChunk chunk;
    while (stream_->Read(&chunk)) {
      if (!chunk.data().empty()) return std::move(*chunk.mutable_data());
    }
    CIRRUS_TRY(end());
    return std::string();
  }
};

class CacheSink final : public BlobSink,
                        private Transfer<grpc::ClientWriter<gw::WriteCacheMessage>> {
 public:
  CacheSink(std::unique_ptr<gw::Blobs::Stub> stub, const gw::WriteCacheMessage& open,
            const StopToken& stop)
      : Transfer(std::move(stub), stop) {
    stream_ = stub_->WriteCache(&call_.context, &reply_);
    (void)stream_->Write(open);
  }
  Status write(std::string_view bytes) override {
    gw::WriteCacheMessage message;
    for (std::size_t at = 0; at < bytes.size(); at += kChunk) {
      const std::string_view chunk = bytes.substr(at, kChunk);
      message.set_data(chunk.data(), chunk.size());
      if (!stream_->Write(message)) return broken();
    }
    return {};
  }
  Status finish() override {
    gw::WriteCacheMessage message;
    message.mutable_end();
    (void)stream_->Write(message);
    (void)stream_->WritesDone();
    return end();
  }

 private:
  gw::BlobStored reply_;
};

class ArtifactsSink final : public ArtifactSink,
                            private Transfer<grpc::ClientWriter<gw::WriteArtifactsMessage>> {
 public:
  ArtifactsSink(std::unique_ptr<gw::Blobs::Stub> stub, gw::BlobCaller caller,
                const ArtifactSet& set, const StopToken& stop)
      : Transfer(std::move(stub), stop) {
    stream_ = stub_->WriteArtifacts(&call_.context, &reply_);
    std::size_t at = 0;
    do {
      gw::WriteArtifactsMessage message;
      gw::WriteArtifactsMessage::Open& open = *message.mutable_open();
      if (at == 0) {
        *open.mutable_caller() = std::move(caller);
        open.set_name(set.name);
        open.set_type(set.type);
        open.set_format(set.format);
      }
      const std::size_t to = std::min(set.files.size(), at + kFilesAtOnce);
      for (; at < to; ++at) {
        gw::WriteArtifactsMessage::File& file = *open.add_files();
        file.set_path(set.files[at].path);
        file.set_size_in_bytes(set.files[at].bytes);
      }
      open.set_more_files(at < set.files.size());
      if (!stream_->Write(message)) return;  // the next call says why
    } while (at < set.files.size());
  }
  Status begin_file() override {
    gw::WriteArtifactsMessage message;
    message.mutable_begin_file();
    return send(message);
  }
  Status write(std::string_view bytes) override {
    gw::WriteArtifactsMessage message;
    for (std::size_t at = 0; at < bytes.size(); at += kChunk) {
      const std::string_view chunk = bytes.substr(at, kChunk);
      message.set_data(chunk.data(), chunk.size());
      CIRRUS_TRY(send(message));
    }
    return {};
  }
  Status finish() override {
    gw::WriteArtifactsMessage message;
    message.mutable_end();
    (void)stream_->Write(message);
    (void)stream_->WritesDone();
    return end();
  }

 private:
  Status send(const gw::WriteArtifactsMessage& message) {
    // Many small messages leave together.
    grpc::WriteOptions options;
    options.set_buffer_hint();
    return stream_->Write(message, options) ? Status() : broken();
  }

  gw::BlobStored reply_;
};

class BlobClient final : public BlobService {
 public:
  BlobClient(std::shared_ptr<grpc::Channel> channel, std::string task_id, Secret agent_secret)
      : channel_(std::move(channel)),
        task_id_(std::move(task_id)),
        agent_secret_(std::move(agent_secret)) {}

  Result<std::optional<CacheFound>> find_cache(const std::string& key,
                                               const std::vector<std::string>& prefixes,
                                               const StopToken& stop, Monotonic deadline) override {
    gw::FindCacheRequest request;
    *request.mutable_caller() = caller();
    request.set_key(key);
    for (const std::string& prefix : prefixes) request.add_prefixes(prefix);
    gw::FindCacheReply reply;
    Call call(stop);
    call.set_deadline(deadline);
    CIRRUS_TRY(from_grpc(stub()->FindCache(&call.context, request, &reply)));
    if (!reply.has_found()) return std::optional<CacheFound>();
    const gw::FoundCache& found = reply.found();
    return std::optional(CacheFound{found.key(), found.size_in_bytes(), found.created_by_task(),
                                    found.created_unix_seconds()});
  }
  Result<std::unique_ptr<BlobSource>> read_cache(const std::string& key,
                                                 const StopToken& stop) override {
    gw::ReadCacheRequest request;
    *request.mutable_caller() = caller();
    request.set_key(key);
    return std::unique_ptr<BlobSource>(std::make_unique<CacheSource>(stub(), request, stop));
  }
  Result<std::unique_ptr<BlobSink>> write_cache(const std::string& key,
                                                const StopToken& stop) override {
    gw::WriteCacheMessage message;
    *message.mutable_open()->mutable_caller() = caller();
    message.mutable_open()->set_key(key);
    return std::unique_ptr<BlobSink>(std::make_unique<CacheSink>(stub(), message, stop));
  }
  Status delete_cache(const std::string& key, const StopToken& stop, Monotonic deadline) override {
    gw::DeleteCacheCall request;
    *request.mutable_caller() = caller();
    request.set_key(key);
    gw::BlobStored reply;
    Call call(stop);
    call.set_deadline(deadline);
    return from_grpc(stub()->DeleteCache(&call.context, request, &reply));
  }
  Result<std::unique_ptr<ArtifactSink>> write_artifacts(const ArtifactSet& set,
                                                        const StopToken& stop) override {
    return std::unique_ptr<ArtifactSink>(
        std::make_unique<ArtifactsSink>(stub(), caller(), set, stop));
  }

 private:
  gw::BlobCaller caller() const {
    gw::BlobCaller caller;
    caller.set_task_id(task_id_);
    caller.set_agent_secret(agent_secret_.reveal());
    return caller;
  }
  std::unique_ptr<gw::Blobs::Stub> stub() { return gw::Blobs::NewStub(channel_); }

  const std::shared_ptr<grpc::Channel> channel_;
  const std::string task_id_;
  const Secret agent_secret_;
};

}  // namespace

std::unique_ptr<BlobService> make_blob_client(std::shared_ptr<grpc::Channel> channel,
                                              std::string task_id, Secret agent_secret) {
  return std::make_unique<BlobClient>(std::move(channel), std::move(task_id),
                                      std::move(agent_secret));
}

}  // namespace cirrus::rpc
