// SPDX-License-Identifier: MIT
// ByteChannel: a stream of bytes both ways, and what makes one to a gateway.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/stop.h"
#include "cirrus_gateway.pb.h"

namespace cirrus::rpc {

/// One thread may read while another writes; cancel() comes from any.
class ByteChannel {
 public:
  virtual ~ByteChannel() = default;
  /// The next bytes; empty at the end. Blocks. Errors: how the other side ended it.
  virtual Result<std::string> read() = 0;
  /// Blocks while the other side is slower.
  virtual Status write(std::string_view bytes) = 0;
  /// Nothing more will be written; the other half stays open.
  virtual void finish_writing() = 0;
  /// Breaks both halves; calls that block return.
  virtual void cancel() = 0;
};

/// An agent's way to what its gateway lets it reach. Thread-safe.
class TunnelLink {
 public:
  virtual ~TunnelLink() = default;
  /// Opens a tunnel; `open` needs neither task nor secret. A refusal shows at the first read.
  virtual Result<std::unique_ptr<ByteChannel>> open(gateway::v1::TunnelMessage::Open open) = 0;
};

}  // namespace cirrus::rpc
