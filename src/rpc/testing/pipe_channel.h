// SPDX-License-Identifier: MIT
// Two ends of a byte stream in memory.
#pragma once

#include <memory>
#include <string>

#include "base/guarded.h"
#include "rpc/byte_channel.h"

namespace cirrus::rpc::testing {

/// One direction.
struct PipeState {
  std::string bytes;
  bool ended = false;
  bool broken = false;
};
using Pipe = Guarded<PipeState>;

class PipeChannel final : public ByteChannel {
 public:
  PipeChannel(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out)
      : in_(std::move(in)), out_(std::move(out)) {}

  Result<std::string> read() override {
    return in_->wait(
        StopToken(), [](const PipeState& s) { return !s.bytes.empty() || s.ended || s.broken; },
        [](PipeState& s, bool) -> Result<std::string> {
          if (s.broken) return error(Code::Cancelled, "the pipe was broken");
          return std::exchange(s.bytes, {});
        });
  }
  Status write(std::string_view bytes) override {
    return out_->update([&](PipeState& s) -> Status {
      if (s.broken || s.ended) return error(Code::Unavailable, "nobody reads");
      s.bytes += bytes;
      return {};
    });
  }
  void finish_writing() override {
    out_->update([](PipeState& s) { s.ended = true; });
  }
  void cancel() override {
    for (const auto& pipe : {in_, out_}) pipe->update([](PipeState& s) { s.broken = true; });
  }
  /// The call has ended: the other end has read everything, then sees the end.
  void close() {
    for (const auto& pipe : {in_, out_}) pipe->update([](PipeState& s) { s.ended = true; });
  }

 private:
  const std::shared_ptr<Pipe> in_;
  const std::shared_ptr<Pipe> out_;
};

struct PipePair {
  std::unique_ptr<PipeChannel> client;
  std::unique_ptr<PipeChannel> server;
};

inline PipePair make_pipe_pair() {
  const auto up = std::make_shared<Pipe>();
  const auto down = std::make_shared<Pipe>();
  return {std::make_unique<PipeChannel>(down, up), std::make_unique<PipeChannel>(up, down)};
}

}  // namespace cirrus::rpc::testing
