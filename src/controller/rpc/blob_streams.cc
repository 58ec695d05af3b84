// SPDX-License-Identifier: MIT
#include "controller/rpc/blob_streams.h"

#include "controller/rpc/cache_spaces.h"
#include "controller/rpc/call_metadata.h"

namespace cirrus::controller::rpc {

namespace {

namespace bytestream = google::bytestream;

constexpr std::size_t kPiece = 1U << 20U;  // Source: protocol §1.5, the reference server's chunk

grpc::Status busy() {
  return {grpc::StatusCode::UNAVAILABLE, "too many transfers begin at once: try again"};
}
grpc::Status ended() {
  return {grpc::StatusCode::PERMISSION_DENIED, "the task has ended"};
}

/// One download. Owns itself from construction to OnDone.
class CacheDownload final : public grpc::ServerWriteReactor<bytestream::ReadResponse> {
 public:
  CacheDownload(const BlobParts& parts, grpc::CallbackServerContext& context,
                const bytestream::ReadRequest& request) {
    if (request.read_offset() < 0 || request.read_limit() < 0) {
      Finish({grpc::StatusCode::OUT_OF_RANGE, "offset and limit are not negative"});
      return;
    }
    offset_ = static_cast<std::uint64_t>(request.read_offset());
    if (request.read_limit() > 0) limit_ = static_cast<std::uint64_t>(request.read_limit());
    with_permit(parts, context,
                [this, &stores = parts.stores,
                 key = request.resource_name()](Result<core::BlobPermit> permit) {
                  if (!permit.ok()) return Finish(to_status(permit));
                  permit_ = std::move(permit).value();
                  Result<blobs::CacheReader> opened = open_cache(stores.caches, permit_, key);
                  if (!opened.ok()) return Finish(to_disk_status(opened));
                  reader_.emplace(std::move(opened).value());
                  send_next();
                });
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    if (!permit_.gate->open) return Finish(ended());
    send_next();
  }
  void OnDone() override { delete this; }

 private:
  void send_next() {
    const std::size_t most =
        limit_ ? static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, *limit_)) : kPiece;
    Result<std::string> piece =
        most == 0 ? Result<std::string>(std::string()) : reader_->read(offset_, most);
    if (!piece.ok()) return Finish(to_disk_status(piece));
    if (piece.value().empty()) return Finish(grpc::Status::OK);
    offset_ += piece.value().size();
    if (limit_) *limit_ -= piece.value().size();
    response_.set_data(std::move(piece).value());
    StartWrite(&response_);
  }

  core::BlobPermit permit_;
  std::optional<blobs::CacheReader> reader_;
  std::uint64_t offset_ = 0;
  std::optional<std::uint64_t> limit_;
  bytestream::ReadResponse response_;
};

/// Messages of an upload one after the other; the end is stored on the pool, because it waits for
/// the disk. Owns itself from construction to OnDone.
template <typename Message>
class Upload : public grpc::ServerReadReactor<Message> {
 public:
  Upload(const BlobParts& parts, grpc::CallbackServerContext& context)
      : parts_(parts), context_(context) {
    this->StartRead(&message_);
  }
  void OnDone() override { delete this; }
  void OnReadDone(bool ok) override {
    if (!ok) {
      if (context_.IsCancelled()) return this->Finish(grpc::Status::CANCELLED);
      return half_closed();
    }
    if (begun_) return step();
    with_permit(parts_, context_, [this](Result<core::BlobPermit> permit) {
      if (!permit.ok()) return this->Finish(to_status(permit));
      permit_ = std::move(permit).value();
      const Status begun = begin(message_);
      if (!begun.ok()) return this->Finish(to_disk_status(begun));
      begun_ = true;
      step();
    });
  }

 protected:
  /// Reads what the first message says of the whole; on the pool.
  virtual Status begin(const Message& message) = 0;
  /// Any message, also the first. True: it was the last.
  virtual Result<bool> take(const Message& message) = 0;
  /// Makes it visible; on the pool.
  virtual Status commit() = 0;
  /// The client says nothing more.
  virtual void half_closed() = 0;

  void store() {
    const bool queued = parts_.pool.run([this](const StopToken&) {
      // Of a task that ended meanwhile nothing appears.
      if (!permit_.gate->open) return this->Finish(ended());
      this->Finish(to_disk_status(commit()));
    });
    if (!queued) this->Finish(busy());
  }
  bool begun() const { return begun_; }
  const core::BlobPermit& permit() const { return permit_; }
  blobs::Stores& stores() { return parts_.stores; }

 private:
  void step() {
    if (!permit_.gate->open) return this->Finish(ended());
    const Result<bool> last = take(message_);
    if (!last.ok()) return this->Finish(to_disk_status(last));
    if (last.value()) return store();
    this->StartRead(&message_);
  }

  const BlobParts parts_;
  grpc::CallbackServerContext& context_;
  Message message_;
  core::BlobPermit permit_;
  bool begun_ = false;
};

class CacheUploadCall final : public Upload<bytestream::WriteRequest> {
 public:
  CacheUploadCall(const BlobParts& parts, grpc::CallbackServerContext& context,
                  bytestream::WriteResponse& response)
      : Upload(parts, context), response_(response) {}

 private:
  Status begin(const bytestream::WriteRequest& message) override {
    upload_.emplace(CIRRUS_TRY(stores().caches.create(cache_home(permit()), message.resource_name(),
                                                      permit().task.to_string())));
    return {};
  }
  Result<bool> take(const bytestream::WriteRequest& message) override {
    if (message.write_offset() != static_cast<std::int64_t>(upload_->size())) {
      return error(Code::InvalidArgument, "byte {} was sent where byte {} was due",
                   message.write_offset(), upload_->size());
    }
    CIRRUS_TRY(upload_->append(message.data()));
    return message.finish_write();
  }
  Status commit() override {
    response_.set_committed_size(static_cast<std::int64_t>(upload_->size()));
    return upload_->commit();
  }
  void half_closed() override {
    Finish({grpc::StatusCode::INVALID_ARGUMENT, "the stream ended before finish_write"});
  }

  bytestream::WriteResponse& response_;
  std::optional<blobs::CacheUpload> upload_;
};

class ArtifactsCall final : public Upload<api::ArtifactEntry> {
 public:
  ArtifactsCall(const BlobParts& parts, grpc::CallbackServerContext& context,
                api::UploadArtifactsResponse& response)
      : Upload(parts, context), response_(response) {}

 private:
  Status begin(const api::ArtifactEntry& message) override {
    if (!message.has_artifacts_upload()) {
      return error(Code::InvalidArgument, "the first message must name the artifact");
    }
    const auto& head = message.artifacts_upload();
    upload_.emplace(CIRRUS_TRY(
        stores().artifacts.create(permit().task, head.name(), head.type(), head.format())));
    return {};
  }
  Result<bool> take(const api::ArtifactEntry& message) override {
    if (message.has_chunk()) {
      CIRRUS_TRY(upload_->append(message.chunk().artifact_path(), message.chunk().data()));
    }
    return false;
  }
  Status commit() override {
    response_.set_bytes_saved(static_cast<std::int64_t>(upload_->size()));
    return upload_->commit();
  }
  void half_closed() override {
    if (begun()) return store();
    Finish({grpc::StatusCode::INVALID_ARGUMENT, "the stream ended before the artifact's name"});
  }

  api::UploadArtifactsResponse& response_;
  std::optional<blobs::ArtifactUpload> upload_;
};

}  // namespace

void with_permit(const BlobParts& parts, const grpc::CallbackServerContext& context,
                 std::function<void(Result<core::BlobPermit>)> permitted) {
  const auto shared = std::make_shared<decltype(permitted)>(std::move(permitted));
  const bool posted = parts.core.post([&pool = parts.pool, task = task_credential(context), shared](
                                          core::State& state, core::Moment moment) {
    state.blob_permit(
        task,
        [&pool, shared](Result<core::BlobPermit> permit) {
          if (!permit.ok()) return (*shared)(std::move(permit));
          const bool queued = pool.run([shared, permit = std::move(permit).value()](
                                           const StopToken&) { (*shared)(permit); });
          if (!queued) {
            (*shared)(error(Code::Unavailable, "too many transfers begin at once: try again"));
          }
        },
        moment);
  });
  if (!posted) (*shared)(error(Code::Unavailable, "the controller is shutting down"));
}

grpc::ServerWriteReactor<bytestream::ReadResponse>* ByteStreamService::Read(
    grpc::CallbackServerContext* context, const bytestream::ReadRequest* request) {
  return new CacheDownload(parts_, *context, *request);  // deletes itself
}

grpc::ServerReadReactor<bytestream::WriteRequest>* ByteStreamService::Write(
    grpc::CallbackServerContext* context, bytestream::WriteResponse* response) {
  return new CacheUploadCall(parts_, *context, *response);  // deletes itself
}

grpc::ServerReadReactor<api::ArtifactEntry>* receive_artifacts(
    const BlobParts& parts, grpc::CallbackServerContext& context,
    api::UploadArtifactsResponse& response) {
  return new ArtifactsCall(parts, context, response);  // deletes itself
}

}  // namespace cirrus::controller::rpc
