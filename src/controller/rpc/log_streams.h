// SPDX-License-Identifier: MIT
// Log bytes on their way from an agent into the blob store.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <grpcpp/grpcpp.h>

#include "base/work_pool.h"
#include "cirrus_agent.pb.h"
#include "controller/blobs/log_store.h"
#include "controller/core/core.h"
#include "controller/rpc/log_syncer.h"
#include "model/secrets.h"

namespace cirrus::controller::rpc {

namespace api = org::cirruslabs::ci::services::cirruscigrpc;

/// Shared by both streams: reads the key, asks the core for a permit, opens the target on the
/// pool, then hands on one chunk after the other. Owns itself from construction to OnDone.
///
///   key ──► core.log_permit ──► pool: open ──► chunk … chunk ──► end ──► Finish
class LogReactor : public grpc::ServerReadReactor<api::LogEntry> {
 public:
  void OnReadDone(bool ok) final;
  void OnDone() final { delete this; }

 protected:
  LogReactor(core::Core& core, blobs::LogStore& logs, WorkPool& pool, LogSyncer& syncer,
             grpc::CallbackServerContext& context, api::UploadLogsResponse& response);
  ~LogReactor() override = default;

  /// On the pool. An error ends the call with it.
  virtual Status open_target(const std::string& step) = 0;
  virtual Status take(const std::string& bytes) = 0;
  /// After the last chunk, unless the call was cancelled: whether `complete` waits for the disk.
  virtual bool waits() const = 0;
  /// Then; returns what to acknowledge.
  virtual Result<std::uint64_t> complete() = 0;
  bool counts() const { return permit_.gate->open; }
  const core::LogPermit& permit() const { return permit_; }

  blobs::LogStore& logs_;
  grpc::CallbackServerContext& context_;

 private:
  void begin(const std::string& step);
  void finish_input();
  void acknowledge();
  void end(const grpc::Status& status);

  core::Core& core_;
  WorkPool& pool_;
  LogSyncer& syncer_;
  api::UploadLogsResponse& response_;
  api::LogEntry entry_;
  core::LogPermit permit_;
  bool opened_ = false;
};

/// Live bytes. With `cirrus-log-offset` every byte has its place: repeats are dropped, gaps
/// refused, and `bytes_logged` acknowledges what is stored; every 32 MiB the sender also hears that
/// the disk has them (`cirrus-log-synced`), and may forget them. Without it (a reference agent)
/// bytes are masked and appended.
class StreamLogsReactor final : public LogReactor {
 public:
  StreamLogsReactor(core::Core& core, blobs::LogStore& logs, WorkPool& pool, LogSyncer& syncer,
                    grpc::CallbackServerContext& context, api::UploadLogsResponse& response)
      : LogReactor(core, logs, pool, syncer, context, response) {}

 private:
  Status open_target(const std::string& step) override;
  Status take(const std::string& bytes) override;
  bool waits() const override;
  Result<std::uint64_t> complete() override;

  std::shared_ptr<blobs::LogFile> file_;
  std::uint64_t first_offset_ = 0;
  std::optional<std::uint64_t> next_offset_;
  std::optional<model::Masker> masker_;
};

/// The whole log of a step again, which replaces what was streamed once it is complete.
class SaveLogsReactor final : public LogReactor {
 public:
  SaveLogsReactor(core::Core& core, blobs::LogStore& logs, WorkPool& pool, LogSyncer& syncer,
                  grpc::CallbackServerContext& context, api::UploadLogsResponse& response)
      : LogReactor(core, logs, pool, syncer, context, response) {}

 private:
  Status open_target(const std::string& step) override;
  Status take(const std::string& bytes) override;
  bool waits() const override { return true; }
  Result<std::uint64_t> complete() override;

  std::optional<blobs::LogReplacement> replacement_;
  std::optional<model::Masker> masker_;
};

}  // namespace cirrus::controller::rpc
