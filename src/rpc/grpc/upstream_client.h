// SPDX-License-Identifier: MIT
// Upstream over gRPC: two connections to one controller, one for control and one for bulk.
#pragma once

#include <memory>

#include "rpc/endpoint.h"
#include "rpc/upstream.h"

namespace cirrus::rpc {

struct UpstreamOptions {
  Endpoint endpoint;
  WorkerIdentity identity;
  /// PEM file of the only roots to trust; empty: the system's.
  std::string ca_file;
  /// PEM files of a client certificate and its key; empty: none.
  std::string certificate_file;
  std::string key_file;
  /// `http://host:port`; empty: direct.
  std::string proxy;
};

/// Never blocks: channels connect on first use. Errors: InvalidArgument if a PEM file cannot be
/// read.
Result<std::unique_ptr<Upstream>> make_upstream(UpstreamOptions options);

/// What keeps the endpoint from being reached, as one sentence; ok if a connection was made.
/// With wait-for-ready a certificate error shows only as a timeout, so this asks without it.
/// Errors: Unavailable with the cause, DeadlineExceeded.
Status probe_endpoint(const UpstreamOptions& options, Monotonic deadline);

/// An agent's view of a server without a worker's: for tests and tools.
Result<std::unique_ptr<TaskService>> make_task_service(const Endpoint& endpoint,
                                                       TaskCredential credential);

}  // namespace cirrus::rpc
