// SPDX-License-Identifier: MIT
// Everything a worker consists of, put together: gateway, its server, isolations, upstreams.
#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "rpc/grpc/upstream_client.h"
#include "worker/worker.h"

namespace cirrus::cli {

/// How to reach one upstream: its endpoint, TLS files and, by the environment, its proxy.
rpc::UpstreamOptions upstream_options(const worker::UpstreamSettings& upstream,
                                      const std::string& name, const std::string& instance);

class WorkerStack {
 public:
  /// Serves when it returns. `data_directory` holds all state; `agents` the unpacked agent, by
  /// default a folder of that. Errors: as Worker::start.
  static Result<std::unique_ptr<WorkerStack>> start(worker::Settings settings,
                                                    const std::filesystem::path& data_directory,
                                                    const std::filesystem::path& agents = {});
  virtual ~WorkerStack() = default;
  virtual worker::Worker& worker() = 0;
};

}  // namespace cirrus::cli
