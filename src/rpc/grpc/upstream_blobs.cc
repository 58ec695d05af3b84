// SPDX-License-Identifier: MIT
#include "rpc/grpc/upstream_blobs.h"

#include <algorithm>
#include <utility>

#include "google/bytestream/bytestream.grpc.pb.h"
#include "rpc/grpc/client_call.h"
#include "rpc/grpc/http_blobs.h"
#include "rpc/grpc/status.h"

namespace cirrus::rpc {
namespace {

namespace bytestream = google::bytestream;
using Headers = HttpHeaders;

// Source: protocol, sizes.
constexpr std::size_t kCacheChunk = 64 * 1024;
constexpr std::size_t kArtifactChunk = 1024 * 1024;
constexpr std::size_t kAddressesAtOnce = 100;
// Ours: what a server may take to hand out an address or to publish an artifact.
constexpr std::chrono::seconds kAnswerTime{60};

/// A byte stream's metadata: the task's, unless the server gave others to send instead.
void add_metadata(grpc::ClientContext& context, const TaskCredential& task,
                  const Endpoint& endpoint, const Headers& instead) {
  for (const auto& [name, value] : instead) context.AddMetadata(name, value);
  if (!instead.empty()) return;
  add_task(context, task);
  context.AddMetadata(kApiEndpoint, endpoint.text);
  context.AddMetadata(kFeatures, Features::ours().to_string());
}

class StreamSource final : public BlobSource {
 public:
  StreamSource(std::shared_ptr<grpc::Channel> channel, const std::string& key,
               const TaskCredential& task, const Endpoint& endpoint, const StopToken& stop)
      : call_(stop, nullptr), stub_(bytestream::ByteStream::NewStub(std::move(channel))) {
    add_metadata(call_.context, task, endpoint, {});
    bytestream::ReadRequest request;
    request.set_resource_name(key);
    reader_ = stub_->Read(&call_.context, request);
  }
  ~StreamSource() override {
    if (finished_) return;
    call_.context.TryCancel();
    (void)reader_->Finish();
  }
  Result<std::string> read() override {
    if (finished_) return std::string();
    bytestream::ReadResponse response;
    while (reader_->Read(&response)) {
      if (response.data().empty()) continue;
      any_ = true;
      return std::move(*response.mutable_data());
    }
    finished_ = true;
    CIRRUS_TRY(from_grpc(reader_->Finish()));
    // Source: protocol §9: no bytes at all are no cache.
    if (!any_) return error(Code::NotFound, "the server sent an empty cache");
    return std::string();
  }

 private:
  Call call_;
  std::unique_ptr<bytestream::ByteStream::Stub> stub_;
  std::unique_ptr<grpc::ClientReader<bytestream::ReadResponse>> reader_;
  bool any_ = false;
  bool finished_ = false;
};

class StreamSink final : public BlobSink {
 public:
  StreamSink(std::shared_ptr<grpc::Channel> channel, std::string key, const TaskCredential& task,
             const Endpoint& endpoint, const Headers& headers, const StopToken& stop)
      : call_(stop, nullptr),
        stub_(bytestream::ByteStream::NewStub(std::move(channel))),
        key_(std::move(key)) {
    add_metadata(call_.context, task, endpoint, headers);
    writer_ = stub_->Write(&call_.context, &response_);
  }
  ~StreamSink() override {
    if (finished_) return;
    call_.context.TryCancel();
    (void)writer_->Finish();
  }
  Status write(std::string_view bytes) override {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(kCacheChunk, bytes.size()))) {
      const std::string_view chunk = bytes.substr(0, kCacheChunk);
      bytestream::WriteRequest request = at_offset();
      request.set_data(chunk.data(), chunk.size());
      if (!writer_->Write(request)) return end();
      size_ += static_cast<std::int64_t>(chunk.size());
    }
    return {};
  }
  Status finish() override {
    bytestream::WriteRequest request = at_offset();
    request.set_finish_write(true);
    (void)writer_->Write(request);
    (void)writer_->WritesDone();
    CIRRUS_TRY(end());
    const std::int64_t stored = response_.committed_size();
    // Source: protocol §9: servers may leave it out.
    if (stored == 0 || stored == size_) return {};
    return error(Code::DataLoss, "the server stored {} of {} bytes", stored, size_);
  }

 private:
  bytestream::WriteRequest at_offset() const {
    bytestream::WriteRequest request;
    request.set_resource_name(key_);
    request.set_write_offset(size_);
    return request;
  }
  Status end() {
    if (finished_) return error(Code::FailedPrecondition, "the upload has ended");
    finished_ = true;
    return from_grpc(writer_->Finish());
  }

  Call call_;
  std::unique_ptr<bytestream::ByteStream::Stub> stub_;
  const std::string key_;
  bytestream::WriteResponse response_;
  std::unique_ptr<grpc::ClientWriter<bytestream::WriteRequest>> writer_;
  std::int64_t size_ = 0;
  bool finished_ = false;
};

class StreamArtifacts final : public ArtifactSink {
 public:
  StreamArtifacts(pb::CirrusCIService::Stub& stub, ArtifactSet set, const TaskCredential& task,
                  const Endpoint& endpoint, const StopToken& stop)
      : call_(stop, nullptr), set_(std::move(set)) {
    add_metadata(call_.context, task, endpoint, {});
    writer_ = stub.UploadArtifacts(&call_.context, &response_);
    pb::ArtifactEntry entry;
    auto& head = *entry.mutable_artifacts_upload();
    *head.mutable_task_identification() = identification(task);
    head.set_name(set_.name);
    head.set_type(set_.type);
    head.set_format(set_.format);
    (void)writer_->Write(entry);
  }
  ~StreamArtifacts() override {
    if (finished_) return;
    call_.context.TryCancel();
    (void)writer_->Finish();
  }
  Status begin_file() override {
    if (next_ >= set_.files.size()) {
      return error(Code::FailedPrecondition, "there are more files than were announced");
    }
    // So that an empty file exists too.
    pb::ArtifactEntry entry;
    entry.mutable_chunk()->set_artifact_path(set_.files[next_++].path);
    return send(entry);
  }
  Status write(std::string_view bytes) override {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(kArtifactChunk, bytes.size()))) {
      const std::string_view chunk = bytes.substr(0, kArtifactChunk);
      pb::ArtifactEntry entry;
      entry.mutable_chunk()->set_artifact_path(set_.files[next_ - 1].path);
      entry.mutable_chunk()->set_data(chunk.data(), chunk.size());
      CIRRUS_TRY(send(entry));
    }
    return {};
  }
  Status finish() override {
    (void)writer_->WritesDone();
    return end();
  }

 private:
  Status send(const pb::ArtifactEntry& entry) {
    // Many small messages leave together.
    grpc::WriteOptions options;
    options.set_buffer_hint();
    if (writer_->Write(entry, options)) return {};
    Status status = end();
    if (status.ok()) return error(Code::Unavailable, "the server ended the upload");
    return status;
  }
  Status end() {
    if (finished_) return error(Code::FailedPrecondition, "the upload has ended");
    finished_ = true;
    return from_grpc(writer_->Finish());
  }

  Call call_;
  const ArtifactSet set_;
  pb::UploadArtifactsResponse response_;
  std::unique_ptr<grpc::ClientWriter<pb::ArtifactEntry>> writer_;
  std::size_t next_ = 0;
  bool finished_ = false;
};

/// An artifact without files.
class NoFiles final : public ArtifactSink {
 public:
  NoFiles(std::function<Status()> commit, std::function<std::unique_ptr<ArtifactSink>()> stream)
      : commit_(std::move(commit)), stream_(std::move(stream)) {}
  Status begin_file() override {
    return error(Code::FailedPrecondition, "there are more files than were announced");
  }
  Status write(std::string_view) override { return begin_file(); }
  Status finish() override {
    Status committed = commit_();
    if (committed.ok() || committed.error().code() != Code::Unimplemented) return committed;
    return stream_()->finish();
  }

 private:
  const std::function<Status()> commit_;
  const std::function<std::unique_ptr<ArtifactSink>()> stream_;
};

void fill(const ArtifactFile& file, pb::ArtifactFileInfo& info) {
  info.set_path(file.path);
  info.set_size_in_bytes(static_cast<std::int64_t>(file.bytes));
}

Monotonic answer_deadline() {
  return std::chrono::steady_clock::now() + kAnswerTime;
}

std::string with_port(std::string address, std::string_view port) {
  if (address.rfind(':') == std::string::npos || address.ends_with(']')) {
    address += port;
  }
  return address;
}

}  // namespace

Result<BlobAddress> BlobAddress::parse(const std::string& url) {
  BlobAddress address;
  if (url.starts_with("http://") || url.starts_with("https://")) {
    address.http = url;
    return address;
  }
  std::string endpoint;
  if (url.starts_with("unix:")) endpoint = url;
  // Source: protocol §9: the ports of addresses without one.
  if (url.starts_with("grpc://")) endpoint = "http://" + with_port(url.substr(7), ":80");
  if (url.starts_with("grpcs://")) endpoint = "https://" + with_port(url.substr(8), ":443");
  if (endpoint.empty()) {
    return error(Code::InvalidArgument, "the server named '{}' as the address of a cache", url);
  }
  address.byte_stream = CIRRUS_TRY(Endpoint::parse(endpoint));
  return address;
}

UpstreamBlobs::UpstreamBlobs(std::shared_ptr<grpc::Channel> control,
                             std::shared_ptr<grpc::Channel> bulk, Endpoint endpoint, Dial dial,
                             TaskCredential credential)
    : bulk_channel_(std::move(bulk)),
      control_(pb::CirrusCIService::NewStub(std::move(control))),
      bulk_(pb::CirrusCIService::NewStub(bulk_channel_)),
      endpoint_(std::move(endpoint)),
      dial_(std::move(dial)),
      credential_(std::move(credential)) {}

Result<std::optional<CacheFound>> UpstreamBlobs::find_cache(
    const std::string& key, const std::vector<std::string>& prefixes, const StopToken& stop,
    Monotonic deadline) {
  Call call(stop, deadline);
  add_metadata(call.context, credential_, endpoint_, {});
  pb::CacheInfoRequest request;
  *request.mutable_task_identification() = identification(credential_);
  request.set_cache_key(key);
  for (const std::string& prefix : prefixes) request.add_cache_key_prefixes(prefix);
  pb::CacheInfoResponse response;
  const grpc::Status status = control_->CacheInfo(&call.context, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) return std::optional<CacheFound>();
  CIRRUS_TRY(from_grpc(status));
  const pb::CacheInfo& info = response.info();
  if (info.key().empty()) return std::optional<CacheFound>();
  std::string creator = info.created_by_task_id();
  if (creator.empty() && info.old_created_by_task_id() != 0) {
    creator = std::to_string(info.old_created_by_task_id());
  }
  return std::optional(CacheFound{info.key(), static_cast<std::uint64_t>(info.size_in_bytes()),
                                  std::move(creator), info.creation_timestamp()});
}

Result<std::unique_ptr<BlobSource>> UpstreamBlobs::read_cache(const std::string& key,
                                                              const StopToken& stop) {
  Call call(stop, answer_deadline());
  add_metadata(call.context, credential_, endpoint_, {});
  pb::GenerateURLsResponse response;
  CIRRUS_TRY(
      from_grpc(control_->GenerateCacheDownloadURLs(&call.context, key_message(key), &response)));
  Error last = error(Code::NotFound, "the server has no cache '{}'", key);
  for (const std::string& url : response.urls()) {
    const Result<BlobAddress> address = BlobAddress::parse(url);
    if (!address.ok()) {
      last = address.error();
      continue;
    }
    if (!address.value().http.empty()) return http_source(address.value().http, stop);
    return std::unique_ptr<BlobSource>(std::make_unique<StreamSource>(
        CIRRUS_TRY(channel_to(address.value().byte_stream)), key, credential_, endpoint_, stop));
  }
  return last;
}

Result<std::unique_ptr<BlobSink>> UpstreamBlobs::write_cache(const std::string& key,
                                                             const StopToken& stop) {
  Call call(stop, answer_deadline());
  add_metadata(call.context, credential_, endpoint_, {});
  pb::GenerateURLResponse response;
  CIRRUS_TRY(
      from_grpc(control_->GenerateCacheUploadURL(&call.context, key_message(key), &response)));
  const BlobAddress address = CIRRUS_TRY(BlobAddress::parse(response.url()));
  const Headers headers(response.extra_headers().begin(), response.extra_headers().end());
  if (!address.http.empty()) return http_sink(address.http, headers, stop);
  return std::unique_ptr<BlobSink>(std::make_unique<StreamSink>(
      CIRRUS_TRY(channel_to(address.byte_stream)), key, credential_, endpoint_, headers, stop));
}

Status UpstreamBlobs::delete_cache(const std::string& key, const StopToken& stop,
                                   Monotonic deadline) {
  Call call(stop, deadline);
  add_metadata(call.context, credential_, endpoint_, {});
  pb::DeleteCacheRequest request;
  *request.mutable_task_identification() = identification(credential_);
  request.set_cache_key(key);
  pb::DeleteCacheResponse response;
  return from_grpc(control_->DeleteCache(&call.context, request, &response));
}

Result<std::unique_ptr<ArtifactSink>> UpstreamBlobs::write_artifacts(const ArtifactSet& set,
                                                                     const StopToken& stop) {
  std::vector<UploadAddress> addresses;
  for (std::size_t at = 0; at < set.files.size(); at += kAddressesAtOnce) {
    Call call(stop, answer_deadline());
    add_metadata(call.context, credential_, endpoint_, {});
    pb::GenerateArtifactUploadURLsRequest request;
    *request.mutable_task_identification() = identification(credential_);
    request.set_name(set.name);
    const std::size_t to = std::min(set.files.size(), at + kAddressesAtOnce);
    for (std::size_t i = at; i < to; ++i) fill(set.files[i], *request.add_files());
    pb::GenerateArtifactUploadURLsResponse response;
    const grpc::Status status =
        control_->GenerateArtifactUploadURLs(&call.context, request, &response);
    if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) break;
    CIRRUS_TRY(from_grpc(status));
    if (static_cast<std::size_t>(response.urls_size()) != to - at) {
      return error(Code::Internal, "the server named {} addresses for {} files",
                   response.urls_size(), to - at);
    }
    for (const auto& url : response.urls()) {
      addresses.push_back({url.url(), Headers(url.headers().begin(), url.headers().end())});
    }
  }
  const auto commit = [this, set, stop]() -> Status {
    Call call(stop, answer_deadline());
    add_metadata(call.context, credential_, endpoint_, {});
    pb::CommitUploadedArtifactsRequest request;
    *request.mutable_task_identification() = identification(credential_);
    request.set_name(set.name);
    request.set_type(set.type);
    request.set_format(set.format);
    for (const ArtifactFile& file : set.files) fill(file, *request.add_files());
    pb::CommitUploadedArtifactsResponse response;
    return from_grpc(control_->CommitUploadedArtifacts(&call.context, request, &response));
  };
  const auto stream = [this, set, stop]() -> std::unique_ptr<ArtifactSink> {
    return std::make_unique<StreamArtifacts>(*bulk_, set, credential_, endpoint_, stop);
  };
  // An empty set needs no addresses: the server's answer to its publication tells the ways apart.
  if (set.files.empty()) {
    return std::unique_ptr<ArtifactSink>(std::make_unique<NoFiles>(commit, stream));
  }
  if (addresses.size() != set.files.size()) return stream();
  return http_artifacts(set, std::move(addresses), commit, stop);
}

pb::CacheKey UpstreamBlobs::key_message(const std::string& key) const {
  pb::CacheKey message;
  *message.mutable_task_identification() = identification(credential_);
  message.set_cache_key(key);
  return message;
}

Result<std::shared_ptr<grpc::Channel>> UpstreamBlobs::channel_to(const Endpoint& endpoint) {
  if (endpoint.target == endpoint_.target && endpoint.tls == endpoint_.tls) return bulk_channel_;
  return dial_(endpoint);
}

}  // namespace cirrus::rpc
