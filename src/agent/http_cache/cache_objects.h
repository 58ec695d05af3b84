// SPDX-License-Identifier: MIT
// CacheObjects: whole blobs under keys, over HTTP. Serves ccache, sccache, Bazel, Gradle and curl.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "net/http_types.h"
#include "rpc/blob_service.h"

namespace cirrus::agent {

/// Bytes and requests since the task began.
struct TransferCounts {
  std::atomic<std::uint64_t> hits{0};
  std::atomic<std::uint64_t> misses{0};
  std::atomic<std::uint64_t> stored{0};
  std::atomic<std::uint64_t> failed{0};
  std::atomic<std::uint64_t> bytes_read{0};
  std::atomic<std::uint64_t> bytes_written{0};
};

/// Everything blocks; called on threads that may. Thread-safe.
class CacheObjects {
 public:
  /// Ours: no object store takes more in one piece, and it has to fit the task's disk.
  static constexpr std::uint64_t kLargest = 16ULL << 30U;

  explicit CacheObjects(rpc::BlobService& blobs) : blobs_(blobs) {}

  /// 404 on a miss, and on any error: a build goes on without its cache. Source: reference agent.
  void get(const std::string& key, const std::shared_ptr<net::Responder>& responder,
           const StopToken& stop);
  net::ServerResponse head(const std::string& key, const StopToken& stop);
  /// 201 once stored. Source: reference agent.
  net::ServerResponse put(const std::string& key, const net::ServerRequest& request,
                          const StopToken& stop);
  net::ServerResponse remove(const std::string& key, const StopToken& stop);

  /// Stores a file under a key.
  Status store_file(const std::string& key, const std::filesystem::path& file,
                    const StopToken& stop);
  Result<std::optional<rpc::CacheFound>> find(const std::string& key,
                                              const std::vector<std::string>& prefixes,
                                              const StopToken& stop);
  TransferCounts& counts() { return counts_; }

 private:
  Status store_bytes(const std::string& key, std::string_view bytes, const StopToken& stop);

  rpc::BlobService& blobs_;
  TransferCounts counts_;
};

/// A plain text answer.
net::ServerResponse text_answer(int status, std::string text);
/// The status for an error of the store.
int status_of(const Error& error);

}  // namespace cirrus::agent
