// SPDX-License-Identifier: MIT
// Carries Attach and the calls about blobs on accepted descriptors: one gRPC server per worker,
// without a port.
#pragma once

#include <memory>

#include "os/fd.h"
#include "rpc/gateway_service.h"

namespace cirrus::rpc {

/// Serves `service` to every connection handed to it. Thread-safe.
class GatewayServer {
 public:
  /// `service` must outlive the server.
  static Result<std::unique_ptr<GatewayServer>> start(GatewayService& service);
  virtual ~GatewayServer() = default;
  /// Takes an accepted stream socket.
  virtual void adopt(os::Fd connection) = 0;
};

}  // namespace cirrus::rpc
