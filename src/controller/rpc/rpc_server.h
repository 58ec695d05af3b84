// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/work_pool.h"
#include "controller/blobs/stores.h"
#include "controller/core/core.h"
#include "rpc/shell_hub.h"

namespace cirrus::controller::rpc {

struct RpcServerOptions {
  std::string address;  ///< HOST:PORT; port 0 picks a free one
  /// PEM files; empty: cleartext. The library looks at them every ten seconds.
  std::filesystem::path certificate = {};
  std::filesystem::path key = {};
};

/// The gRPC listener with all services. gRPC types stay in the .cc.
class RpcServer {
 public:
  /// Serves when it returns. Everything given must outlive it. Errors: Unavailable if the address
  /// cannot be listened on.
  static Result<std::unique_ptr<RpcServer>> start(const RpcServerOptions& options, core::Core& core,
                                                  blobs::Stores& stores, WorkPool& pool,
                                                  cirrus::rpc::ShellHub& shells);
  virtual ~RpcServer() = default;
  virtual int port() const = 0;
  /// Takes no new calls and ends those that are left after a short grace. The core must have been
  /// stopped (or still be answering). Safe to call twice.
  virtual void stop() = 0;
};

}  // namespace cirrus::controller::rpc
