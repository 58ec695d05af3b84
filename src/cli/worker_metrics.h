// SPDX-License-Identifier: MIT
// What a worker tells monitoring systems: a Prometheus page, and OTLP as the reference sends it.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "worker/worker.h"

namespace cirrus::cli {

/// Serves `/metrics` and `/healthz` on `address` (empty: not at all) and, where the environment
/// names a collector (cli/otlp.h), sends the reference's metrics there once a minute and the spans
/// of tasks every five seconds.
/// `/healthz` answers 200 while at least one upstream has registered this worker, else 503.
class WorkerMetrics {
 public:
  /// `worker` must outlive it. Errors: Unavailable if the address cannot be listened on,
  /// InvalidArgument if it is none.
  static Result<std::unique_ptr<WorkerMetrics>> start(worker::Worker& worker,
                                                      const std::string& address);
  virtual ~WorkerMetrics() = default;
  /// 0 if nothing is served.
  virtual int port() const = 0;
};

/// The page in Prometheus' text form.
std::string prometheus_page(const worker::WorkerFacts& facts);
/// One OTLP/HTTP export request in JSON, with the reference's metric names.
/// `now` in nanoseconds since 1970, `start` when counting began.
std::string otlp_request(const worker::WorkerFacts& facts, const std::string& version,
                         std::uint64_t start, std::uint64_t now);

}  // namespace cirrus::cli
