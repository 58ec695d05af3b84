// SPDX-License-Identifier: MIT
#include "rpc/grpc/reference_agent_server.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <functional>
#include <vector>

#include <grpcpp/server_context.h>

#include "base/ids.h"
#include "model/archive_mark.h"
#include "os/fd.h"
#include "os/files.h"
#include "rpc/endpoint.h"
#include "rpc/grpc/client_call.h"
#include "rpc/grpc/status.h"

namespace cirrus::rpc {
namespace {

namespace bytestream = google::bytestream;
using Event = cirrus::gateway::v1::AgentMessage::Event;

// Ours: what a server of the other kind may take to answer a question about one key.
constexpr std::chrono::seconds kAnswerTime{30};
constexpr std::size_t kPiece = 1U << 20U;

Monotonic answer_deadline() {
  return std::chrono::steady_clock::now() + kAnswerTime;
}

std::string header(const grpc::ServerContext& context, const char* key) {
  return first_value(context.client_metadata(), key);
}

Result<std::shared_ptr<ReferenceTask>> task_of(GatewayService& service,
                                               const grpc::ServerContext& context) {
  return service.reference_task(header(context, kTaskId), header(context, kClientSecret));
}

/// Does something for the task that calls.
template <typename Body>
grpc::Status with_task(GatewayService& service, const grpc::ServerContext& context, Body&& body) {
  const Result<std::shared_ptr<ReferenceTask>> task = task_of(service, context);
  return task.ok() ? to_grpc(std::forward<Body>(body)(*task.value())) : to_grpc(task.error());
}

/// Keeps what happened, as `fill` writes it into the event.
template <typename Fill>
grpc::Status report(GatewayService& service, const grpc::ServerContext& context, Fill&& fill) {
  return with_task(service, context, [&fill](ReferenceTask& task) {
    Event event;
    std::forward<Fill>(fill)(event);
    return task.report(std::move(event));
  });
}

/// Without the secret that such a request may carry.
pb::ReportAgentProblemRequest problem_of(const pb::ReportAgentProblemRequest& request) {
  pb::ReportAgentProblemRequest problem = request;
  problem.clear_task_identification();
  return problem;
}

/// The same with the task's caches and artifacts.
template <typename Body>
grpc::Status with_blobs(GatewayService& service, const grpc::ServerContext& context, Body&& body) {
  return with_task(service, context, [&body](ReferenceTask& task) -> Status {
    const BlobLease lease = CIRRUS_TRY(task.lend_blobs());
    return std::forward<Body>(body)(*lease.service, lease.stop);
  });
}

/// An archive of ours is zstd, which such agents cannot unpack: to them it is not there.
Result<bool> is_foreign(BlobService& blobs, const std::string& key, const StopToken& stop) {
  const std::unique_ptr<BlobSource> source = CIRRUS_TRY(blobs.read_cache(key, stop));
  return CIRRUS_TRY(source->read()).starts_with(model::kArchiveMark);
}

Result<CacheFound> usable_cache(BlobService& blobs, const std::string& key,
                                const std::vector<std::string>& prefixes, const StopToken& stop) {
  std::optional<CacheFound> found =
      CIRRUS_TRY(blobs.find_cache(key, prefixes, stop, answer_deadline()));
  if (found && !CIRRUS_TRY(is_foreign(blobs, found->key, stop))) return *std::move(found);
  return error(Code::NotFound, "no such cache");
}

Result<std::string> first_step(grpc::ServerReader<pb::LogEntry>& reader, pb::LogEntry& entry) {
  if (reader.Read(&entry) && entry.has_key()) return entry.key().command_name();
  return error(Code::InvalidArgument, "the first message must be a key");
}

/// Artifacts on their way: a server wants to know what comes, and this agent does not say.
class PassingArtifact {
 public:
  PassingArtifact(std::filesystem::path directory, const pb::ArtifactEntry::ArtifactsUpload& head)
      : directory_(std::move(directory)), set_{head.name(), head.type(), head.format(), {}} {}
  PassingArtifact(const PassingArtifact&) = delete;
  PassingArtifact& operator=(const PassingArtifact&) = delete;
  ~PassingArtifact() { (void)os::remove_tree(directory_); }

  Status take(const pb::ArtifactEntry::ArtifactChunk& chunk) {
    if (current_ == set_.files.end() || current_->path != chunk.artifact_path()) {
      CIRRUS_TRY(begin(chunk.artifact_path()));
    }
    CIRRUS_TRY(os::write_all(file_.get(), chunk.data()));
    current_->bytes += chunk.data().size();
    return {};
  }

  /// The bytes that were stored.
  Result<std::uint64_t> send(BlobService& blobs, const StopToken& stop) {
    const std::unique_ptr<ArtifactSink> sink = CIRRUS_TRY(blobs.write_artifacts(set_, stop));
    std::uint64_t total = 0;
    std::vector<char> buffer(kPiece);
    for (std::size_t i = 0; i < set_.files.size(); ++i) {
      CIRRUS_TRY(sink->begin_file());
      const os::Fd file = CIRRUS_TRY(os::open_file(path_of(i), O_RDONLY));
      for (;;) {
        const std::size_t got = CIRRUS_TRY(os::read_some(file.get(), buffer));
        if (got == 0) break;
        CIRRUS_TRY(sink->write({buffer.data(), got}));
        total += got;
      }
    }
    CIRRUS_TRY(sink->finish());
    return total;
  }

 private:
  std::filesystem::path path_of(std::size_t index) const {
    return directory_ / std::to_string(index);
  }
  // A path that comes again replaces the file. Source: protocol §10.
  Status begin(const std::string& path) {
    CIRRUS_TRY(os::make_directories(directory_));
    current_ = std::find_if(set_.files.begin(), set_.files.end(),
                            [&path](const ArtifactFile& file) { return file.path == path; });
    if (current_ == set_.files.end()) {
      set_.files.push_back({path, 0});
      current_ = set_.files.end() - 1;
    }
    current_->bytes = 0;
    file_ =
        CIRRUS_TRY(os::open_file(path_of(static_cast<std::size_t>(current_ - set_.files.begin())),
                                 O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
    return {};
  }

  const std::filesystem::path directory_;
  ArtifactSet set_;
  std::vector<ArtifactFile>::iterator current_ = set_.files.end();
  os::Fd file_;  // of current_
};

}  // namespace

grpc::Status ReferenceAgentServer::InitialCommands(Context* context,
                                                   const pb::InitialCommandsRequest*,
                                                   pb::CommandsResponse* reply) {
  return with_task(service_, *context, [context, reply](ReferenceTask& task) -> Status {
    *reply = task.initial_commands();
    name_terminal_server(*reply, header(*context, kApiEndpoint));
    return {};
  });
}

grpc::Status ReferenceAgentServer::ReportCommandUpdates(
    Context* context, const pb::ReportCommandUpdatesRequest* request,
    pb::ReportCommandUpdatesResponse*) {
  return report(service_, *context, [request](Event& event) {
    *event.mutable_updates()->mutable_updates() = request->updates();
  });
}

grpc::Status ReferenceAgentServer::ReportAnnotations(
    Context* context, const pb::ReportAnnotationsCommandRequest* request, None*) {
  return report(service_, *context, [request](Event& event) {
    *event.mutable_annotations()->mutable_annotations() = request->annotations();
  });
}

grpc::Status ReferenceAgentServer::ReportAgentFinished(
    Context* context, const pb::ReportAgentFinishedRequest* request,
    pb::ReportAgentFinishedResponse*) {
  return report(service_, *context, [request](Event& event) {
    *event.mutable_finished() = *request;
    event.mutable_finished()->clear_task_identification();
  });
}

grpc::Status ReferenceAgentServer::ReportAgentError(Context* context,
                                                    const pb::ReportAgentProblemRequest* request,
                                                    None*) {
  return report(service_, *context,
                [request](Event& event) { *event.mutable_error() = problem_of(*request); });
}

grpc::Status ReferenceAgentServer::ReportAgentWarning(Context* context,
                                                      const pb::ReportAgentProblemRequest* request,
                                                      None*) {
  return report(service_, *context,
                [request](Event& event) { *event.mutable_warning() = problem_of(*request); });
}

grpc::Status ReferenceAgentServer::ReportAgentSignal(Context* context,
                                                     const pb::ReportAgentSignalRequest* request,
                                                     None*) {
  return report(service_, *context,
                [request](Event& event) { event.mutable_signal()->set_signal(request->signal()); });
}

grpc::Status ReferenceAgentServer::ReportAgentLogs(Context* context,
                                                   const pb::ReportAgentLogsRequest* request,
                                                   None*) {
  return with_task(service_, *context,
                   [request](ReferenceTask& task) { return task.keep_agent_log(request->logs()); });
}

// Whether the task lives the worker tells the controller.
grpc::Status ReferenceAgentServer::Heartbeat(Context* context, const pb::HeartbeatRequest*,
                                             pb::HeartbeatResponse*) {
  return with_task(service_, *context, [](ReferenceTask&) { return Status(); });
}

grpc::Status ReferenceAgentServer::ReportStopHook(Context* context,
                                                  const pb::ReportStopHookRequest*, None*) {
  return with_task(service_, *context, [](ReferenceTask&) { return Status(); });
}

grpc::Status ReferenceAgentServer::StreamLogs(Context* context, Reader<pb::LogEntry>* reader,
                                              pb::UploadLogsResponse* reply) {
  return with_task(service_, *context, [&](ReferenceTask& task) -> Status {
    pb::LogEntry entry;
    const std::string step = CIRRUS_TRY(first_step(*reader, entry));
    std::int64_t taken = 0;
    Status status;
    while (status.ok() && reader->Read(&entry)) {
      status = task.append_log(step, entry.chunk().data());
      taken += static_cast<std::int64_t>(entry.chunk().data().size());
    }
    if (status.ok() && context->IsCancelled()) status = error(Code::Cancelled, "cut off");
    if (!status.ok()) task.log_broke(step);
    reply->set_bytes_logged(taken);
    return status;
  });
}

grpc::Status ReferenceAgentServer::SaveLogs(Context* context, Reader<pb::LogEntry>* reader,
                                            pb::UploadLogsResponse* reply) {
  return with_task(service_, *context, [&](ReferenceTask& task) -> Status {
    pb::LogEntry entry;
    const std::string step = CIRRUS_TRY(first_step(*reader, entry));
    const std::uint64_t total = CIRRUS_TRY(task.complete_log(step, [&]() -> Result<std::string> {
      while (reader->Read(&entry)) {
        if (!entry.chunk().data().empty()) return std::move(*entry.mutable_chunk()->mutable_data());
      }
      if (context->IsCancelled()) return error(Code::Cancelled, "cut off");
      return std::string();
    }));
    reply->set_bytes_logged(static_cast<std::int64_t>(total));
    return {};
  });
}

grpc::Status ReferenceAgentServer::UploadArtifacts(Context* context,
                                                   Reader<pb::ArtifactEntry>* reader,
                                                   pb::UploadArtifactsResponse* reply) {
  return with_task(service_, *context, [&](ReferenceTask& task) -> Status {
    pb::ArtifactEntry entry;
    if (!reader->Read(&entry) || !entry.has_artifacts_upload()) {
      return error(Code::InvalidArgument, "the first message must name the artifact");
    }
    PassingArtifact artifact(task.scratch() / ("artifact-" + random_hex(6)),
                             entry.artifacts_upload());
    while (reader->Read(&entry)) {
      if (!entry.has_chunk()) continue;
      CIRRUS_TRY(task.room_for_scratch());
      CIRRUS_TRY(artifact.take(entry.chunk()));
    }
    if (context->IsCancelled()) return error(Code::Cancelled, "cut off");
    const BlobLease lease = CIRRUS_TRY(task.lend_blobs());
    const std::uint64_t stored = CIRRUS_TRY(artifact.send(*lease.service, lease.stop));
    reply->set_bytes_saved(static_cast<std::int64_t>(stored));
    return {};
  });
}

grpc::Status ReferenceAgentServer::CacheInfo(Context* context, const pb::CacheInfoRequest* request,
                                             pb::CacheInfoResponse* reply) {
  return with_blobs(service_, *context, [&](BlobService& blobs, const StopToken& stop) -> Status {
    const CacheFound found = CIRRUS_TRY(usable_cache(
        blobs, request->cache_key(),
        {request->cache_key_prefixes().begin(), request->cache_key_prefixes().end()}, stop));
    pb::CacheInfo& info = *reply->mutable_info();
    info.set_key(found.key);
    info.set_size_in_bytes(static_cast<std::int64_t>(found.bytes));
    info.set_creation_timestamp(found.created_unix_seconds);
    info.set_created_by_task_id(found.created_by_task);
    return {};
  });
}

grpc::Status ReferenceAgentServer::DeleteCache(Context* context,
                                               const pb::DeleteCacheRequest* request,
                                               pb::DeleteCacheResponse*) {
  return with_blobs(service_, *context, [&](BlobService& blobs, const StopToken& stop) {
    return blobs.delete_cache(request->cache_key(), stop, answer_deadline());
  });
}

grpc::Status ReferenceAgentServer::GenerateCacheUploadURL(Context* context, const pb::CacheKey*,
                                                          pb::GenerateURLResponse* reply) {
  return with_task(service_, *context, [&](ReferenceTask&) -> Status {
    reply->set_url(CIRRUS_TRY(cache_address(header(*context, kApiEndpoint))));
    return {};
  });
}

grpc::Status ReferenceAgentServer::GenerateCacheDownloadURLs(Context* context,
                                                             const pb::CacheKey* request,
                                                             pb::GenerateURLsResponse* reply) {
  return with_blobs(service_, *context, [&](BlobService& blobs, const StopToken& stop) -> Status {
    CIRRUS_TRY(usable_cache(blobs, request->cache_key(), {}, stop));
    reply->add_urls(CIRRUS_TRY(cache_address(header(*context, kApiEndpoint))));
    return {};
  });
}

grpc::Status ReferenceAgentServer::ReportTerminalAttached(
    Context* context, const pb::ReportTerminalAttachedRequest* request,
    pb::ReportTerminalAttachedResponse*) {
  const Result<std::shared_ptr<ReferenceTask>> task = task_of(service_, *context);
  if (!task.ok()) return to_grpc(task.error());
  return to_grpc(
      terminals_.claim(request->locator(), request->trusted_secret(), header(*context, kTaskId),
                       [here = std::weak_ptr(task.value())] { return !here.expired(); }));
}

grpc::Status ReferenceAgentServer::ReportTerminalLifecycle(
    Context* context, const pb::ReportTerminalLifecycleRequest*,
    pb::ReportTerminalLifecycleResponse*) {
  return with_task(service_, *context, [](ReferenceTask&) { return Status(); });
}

grpc::Status ReferenceByteStream::Read(grpc::ServerContext* context,
                                       const bytestream::ReadRequest* request,
                                       grpc::ServerWriter<bytestream::ReadResponse>* writer) {
  return with_blobs(service_, *context, [&](BlobService& blobs, const StopToken& stop) -> Status {
    if (request->read_offset() != 0 || request->read_limit() != 0) {
      return error(Code::Unimplemented, "caches are read whole");
    }
    const std::unique_ptr<BlobSource> source =
        CIRRUS_TRY(blobs.read_cache(request->resource_name(), stop));
    for (;;) {
      bytestream::ReadResponse piece;
      *piece.mutable_data() = CIRRUS_TRY(source->read());
      if (piece.data().empty()) return {};
      if (!writer->Write(piece)) return error(Code::Cancelled, "cut off");
    }
  });
}

grpc::Status ReferenceByteStream::Write(grpc::ServerContext* context,
                                        grpc::ServerReader<bytestream::WriteRequest>* reader,
                                        bytestream::WriteResponse* reply) {
  return with_blobs(service_, *context, [&](BlobService& blobs, const StopToken& stop) -> Status {
    bytestream::WriteRequest message;
    if (!reader->Read(&message)) return error(Code::InvalidArgument, "nothing was sent");
    const std::unique_ptr<BlobSink> sink =
        CIRRUS_TRY(blobs.write_cache(message.resource_name(), stop));
    std::int64_t size = 0;
    do {
      if (message.write_offset() != size) {
        return error(Code::InvalidArgument, "byte {} was sent where byte {} was due",
                     message.write_offset(), size);
      }
      CIRRUS_TRY(sink->write(message.data()));
      size += static_cast<std::int64_t>(message.data().size());
      if (message.finish_write()) {
        reply->set_committed_size(size);
        return sink->finish();
      }
    } while (reader->Read(&message));
    return error(Code::InvalidArgument, "the stream ended before finish_write");
  });
}

}  // namespace cirrus::rpc
