// SPDX-License-Identifier: MIT
#include "archive/frames.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include <zstd.h>

namespace cirrus::archive {
namespace {

constexpr int kLevel = 3;  // Source: design, compression.
// Ours: more gain nothing on what disks deliver.
constexpr unsigned kMostThreads = 8;

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

/// Keeps what every frame needs again. Not thread-safe.
class Packer {
 public:
  Packer() : context_(ZSTD_createCCtx()), room_(ZSTD_compressBound(FrameCompressor::kFrame)) {
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kLevel);
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
  }
  Result<std::string> pack(std::string_view bytes) {
    room_.resize(std::max(room_.size(), ZSTD_compressBound(bytes.size())));
    const std::size_t size =
        ZSTD_compress2(context_.get(), room_.data(), room_.size(), bytes.data(), bytes.size());
    if (ZSTD_isError(size) != 0) {
      return error(Code::Internal, "cannot compress: {}", ZSTD_getErrorName(size));
    }
    return std::string(room_.data(), size);
  }

 private:
  std::unique_ptr<ZSTD_CCtx, FreeContext> context_;
  std::vector<char> room_;
};

}  // namespace

Result<std::string> compress_frame(std::string_view bytes) {
  return Packer().pack(bytes);
}

FrameCompressor::FrameCompressor() {
  const unsigned wanted = std::clamp(std::thread::hardware_concurrency(), 1U, kMostThreads);
  try {
    while (threads_.size() < wanted) {
      threads_.emplace_back([this](const StopToken& stop) { run(stop); });
    }
  } catch (const std::system_error&) {
    // The task is at its limit of processes: the threads that there are will do.
  }
}

FrameCompressor::~FrameCompressor() = default;

void FrameCompressor::submit(std::string bytes) {
  auto frame = std::make_shared<Frame>();
  frame->plain = std::move(bytes);
  order_.push_back(frame);
  if (threads_.empty()) {
    frame->packed = compress_frame(frame->plain);
    return;
  }
  waiting_.update([&frame](Frames& waiting) { waiting.push_back(std::move(frame)); });
}

std::optional<Result<std::string>> FrameCompressor::next(bool wait) {
  if (order_.empty()) return std::nullopt;
  Frame& oldest = *order_.front();
  const auto is_done = [&oldest](const Frames&) { return oldest.packed.has_value(); };
  const bool done = wait ? waiting_.wait(StopToken(), is_done, [](Frames&, bool) { return true; })
                         : waiting_.with(is_done);
  if (!done) return std::nullopt;
  std::optional<Result<std::string>> packed = std::move(oldest.packed);
  spare_.push_back(std::move(oldest.plain));
  order_.pop_front();
  return packed;
}

std::string FrameCompressor::buffer() {
  std::string buffer;
  if (!spare_.empty()) {
    buffer = std::move(spare_.back());
    spare_.pop_back();
  }
  buffer.clear();
  buffer.reserve(kFrame);
  return buffer;
}

void FrameCompressor::run(const StopToken& stop) {
  Packer packer;
  const auto any = [](const Frames& waiting) { return !waiting.empty(); };
  const auto take = [](Frames& waiting, bool ready) -> std::shared_ptr<Frame> {
    if (!ready) return nullptr;
    std::shared_ptr<Frame> frame = std::move(waiting.front());
    waiting.pop_front();
    return frame;
  };
  while (!stop.stop_requested()) {
    const std::shared_ptr<Frame> frame = waiting_.wait(stop, any, take);
    if (!frame) return;
    Result<std::string> packed = packer.pack(frame->plain);
    waiting_.update([&](Frames&) { frame->packed = std::move(packed); });
  }
}

}  // namespace cirrus::archive
