// SPDX-License-Identifier: MIT
#include "controller/rpc/log_streams.h"

#include <algorithm>

#include "controller/rpc/call_metadata.h"
#include "rpc/peer.h"

namespace cirrus::controller::rpc {
namespace {

// Ours: so much of a long log its worker keeps although it is stored. Syncing every segment would
// make a fast log as slow as the disk is for small writes.
constexpr std::uint64_t kSyncEvery = 32U << 20U;
// Ours: what is about a whole segment of a fast log goes to the disk at leisure.
constexpr std::uint64_t kLongSegment = 2U << 20U;

std::string masked(model::Masker& masker, const std::string& bytes) {
  std::string out;
  masker.feed(bytes, out);
  return out;
}

std::string rest_of(model::Masker& masker) {
  std::string out;
  masker.finish(out);
  return out;
}

}  // namespace

LogReactor::LogReactor(core::Core& core, blobs::LogStore& logs, WorkPool& pool, LogSyncer& syncer,
                       grpc::CallbackServerContext& context, api::UploadLogsResponse& response)
    : logs_(logs),
      context_(context),
      core_(core),
      pool_(pool),
      syncer_(syncer),
      response_(response) {
  StartRead(&entry_);
}

void LogReactor::OnReadDone(bool ok) {
  if (!ok) return finish_input();
  if (!opened_) {
    if (!entry_.has_key()) {
      return end({grpc::StatusCode::INVALID_ARGUMENT, "the first message must be a key"});
    }
    return begin(entry_.key().command_name());
  }
  if (entry_.has_chunk()) {
    const Status taken = take(entry_.chunk().data());
    if (!taken.ok()) return end(to_disk_status(taken));
  }
  StartRead(&entry_);
}

void LogReactor::finish_input() {
  // Half-closed by the client, or gone.
  if (context_.IsCancelled()) return end(grpc::Status::CANCELLED);
  if (!opened_) {
    return end({grpc::StatusCode::INVALID_ARGUMENT, "the stream ended before its key"});
  }
  if (!waits()) return acknowledge();
  if (syncer_.run([this] { acknowledge(); })) return;
  end({grpc::StatusCode::UNAVAILABLE, "too many logs wait for the disk: try again"});
}

void LogReactor::acknowledge() {
  const Result<std::uint64_t> stored = complete();
  if (stored.ok()) response_.set_bytes_logged(static_cast<std::int64_t>(stored.value()));
  end(to_disk_status(stored));
}

void LogReactor::begin(const std::string& step) {
  const bool posted = core_.post([this, step](core::State& state, core::Moment moment) {
    state.log_permit(
        task_credential(context_), step,
        [this, step](Result<core::LogPermit> permit) {
          if (!permit.ok()) return end(to_status(permit));
          permit_ = std::move(permit).value();
          const bool queued = pool_.run([this, step](const StopToken&) {
            const Status target = open_target(step);
            if (!target.ok()) return end(to_disk_status(target));
            opened_ = true;
            StartRead(&entry_);
          });
          if (!queued) end({grpc::StatusCode::UNAVAILABLE, "too many logs are being opened"});
        },
        moment);
  });
  if (!posted) end(shutting_down());
}

void LogReactor::end(const grpc::Status& status) {
  Finish(status);
}

Status StreamLogsReactor::open_target(const std::string& step) {
  const std::optional<std::uint64_t> offset =
      CIRRUS_TRY(number_header(context_, "cirrus-log-offset"));
  file_ = CIRRUS_TRY(logs_.open(permit().task, step));
  if (!offset) {
    masker_.emplace(model::masker_for(permit().secrets_to_mask));
    return {};
  }
  const std::uint64_t stored = file_->stored();
  context_.AddInitialMetadata("cirrus-log-stored", std::to_string(stored));
  StartSendInitialMetadata();
  // Nothing that comes counts any more: let the sender get rid of it.
  if (counts() && *offset > stored) {
    return error(Code::FailedPrecondition, "log bytes {} to {} of step '{:.80}' are missing",
                 stored, *offset, step);
  }
  first_offset_ = *offset;
  next_offset_ = offset;
  return {};
}

Status StreamLogsReactor::take(const std::string& bytes) {
  if (!next_offset_) {
    if (counts()) CIRRUS_TRY(file_->append(masked(*masker_, bytes)));
    return {};
  }
  if (counts()) CIRRUS_TRY(file_->append_at(*next_offset_, bytes));
  *next_offset_ += bytes.size();
  return {};
}

bool StreamLogsReactor::waits() const {
  return next_offset_ && counts() && first_offset_ / kSyncEvery != *next_offset_ / kSyncEvery;
}

Result<std::uint64_t> StreamLogsReactor::complete() {
  if (!next_offset_) {
    if (counts()) CIRRUS_TRY(file_->append(rest_of(*masker_)));
    return file_->stored();
  }
  if (waits()) {
    const std::uint64_t synced = CIRRUS_TRY(file_->sync());
    context_.AddTrailingMetadata(cirrus::rpc::kLogSynced, std::to_string(synced));
  } else if (*next_offset_ - first_offset_ >= kLongSegment) {
    file_->begin_sync();
  }
  // Late bytes are acknowledged although they were dropped, else they would come again for ever.
  return counts() ? file_->stored() : std::max(file_->stored(), *next_offset_);
}

Status SaveLogsReactor::open_target(const std::string& step) {
  masker_.emplace(model::masker_for(permit().secrets_to_mask));
  if (counts()) replacement_.emplace(CIRRUS_TRY(logs_.replace(permit().task, step)));
  return {};
}

Status SaveLogsReactor::take(const std::string& bytes) {
  if (!replacement_) return {};
  return replacement_->append(masked(*masker_, bytes));
}

Result<std::uint64_t> SaveLogsReactor::complete() {
  if (!replacement_) return std::uint64_t{0};
  CIRRUS_TRY(replacement_->append(rest_of(*masker_)));
  const std::uint64_t size = replacement_->size();
  if (counts()) CIRRUS_TRY(replacement_->commit());
  return size;
}

}  // namespace cirrus::controller::rpc
