// SPDX-License-Identifier: MIT
// What `/metrics` shows.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "controller/core/statistics.h"
#include "controller/http/routes.h"

namespace cirrus::controller::http {

/// How often each route was called. Thread-safe.
class RequestCounts {
 public:
  RequestCounts();
  /// `route` is one of the table, or null: git.
  void count(const Route* route);
  /// By `METHOD /pattern`.
  std::map<std::string, std::uint64_t> all() const;

 private:
  const std::size_t routes_;                              // constant after construction
  std::unique_ptr<std::atomic<std::uint64_t>[]> counts_;  // atomics: counted from any thread
};

/// Everything one answer of `/metrics` says.
struct Figures {
  core::Statistics state;
  std::map<std::string, std::uint64_t> requests;
  std::uint64_t log_bytes_written = 0;
  std::uint64_t artifact_bytes_stored = 0;
  std::uint64_t cache_bytes = 0;
  std::uint64_t free_bytes = 0;  ///< on the data directory's disk
  bool uploads_taken = true;     ///< is there room for caches and artifacts
  std::uint64_t uploads_refused = 0;
  bool store_writable = true;
};

/// The Prometheus text format; `promtool check metrics` finds nothing in it.
std::string metrics_text(const Figures& figures);

}  // namespace cirrus::controller::http
