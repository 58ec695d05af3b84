// SPDX-License-Identifier: MIT
// FrameCompressor: zstd frames made on several threads, given back in order.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/guarded.h"
#include "base/result.h"

namespace cirrus::archive {

/// Each frame stands for itself, so any zstd reader takes them one after the other. The library has
/// threads of its own, but not where it is linked statically as packaged, as the agent does.
/// Call order: submit() and next() from one thread, until next(true) has nothing more.
class FrameCompressor {
 public:
  /// Bytes of a frame before compression. Ours: twice the window of level 3, so that little is lost
  /// between frames.
  static constexpr std::size_t kFrame = std::size_t{4} << 20U;

  FrameCompressor();
  ~FrameCompressor();
  FrameCompressor(const FrameCompressor&) = delete;
  FrameCompressor& operator=(const FrameCompressor&) = delete;

  /// Takes the bytes of one frame. Compresses here and now if the system gives no thread.
  void submit(std::string bytes);
  /// Whether more would only lie in memory: then next(true) is due.
  bool is_full() const { return order_.size() >= threads_.size() + 2; }
  /// The oldest frame; absent if there is none, or it is not done and `wait` is false.
  std::optional<Result<std::string>> next(bool wait);
  /// An empty string, with the memory of a frame that was given back if there is one.
  std::string buffer();

 private:
  struct Frame {
    std::string plain;                          // a thread's until packed is there
    std::optional<Result<std::string>> packed;  // guarded by waiting_
  };
  using Frames = std::deque<std::shared_ptr<Frame>>;

  void run(const StopToken& stop);

  Frames order_;  // oldest first
  std::vector<std::string> spare_;
  Guarded<Frames> waiting_;
  std::vector<Thread> threads_;  // last: they use waiting_
};

/// One frame of `bytes`, compressed by the caller. Errors: Internal.
Result<std::string> compress_frame(std::string_view bytes);

}  // namespace cirrus::archive
