// SPDX-License-Identifier: MIT
// What a worker on this machine does right now: it says so on a socket of its data directory, and
// `cirrus worker status` asks there.
//
//   client connects --> worker writes one JSON document and closes
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "worker/worker.h"

namespace cirrus::cli {

/// Answers while it lives.
class WorkerStatus {
 public:
  /// Listens at `<run>/status.sock`, where `<data>/status.sock` leads: a data directory's own path
  /// may be too long for a socket. Only the worker's user may ask; both go with the object.
  /// `worker` must outlive it.
  static Result<std::unique_ptr<WorkerStatus>> start(const worker::Worker& worker,
                                                     const std::filesystem::path& data_directory,
                                                     const std::filesystem::path& run_directory);
  virtual ~WorkerStatus() = default;
};

/// What a worker says, `schema_version` 1. `paused`: by endpoint, of the upstreams that answered.
/// `free_space`: bytes in its data directory; nothing if unknown.
nlohmann::json status_document(const worker::WorkerFacts& facts,
                               const std::map<std::string, bool>& paused, WallTime now,
                               std::optional<std::uint64_t> free_space);

/// The same for people.
std::string status_text(const nlohmann::json& document);

/// Asks the worker of a data directory. Errors: NotFound if none runs there, PermissionDenied if it
/// is another user's, DeadlineExceeded, Unavailable if the answer broke off.
Result<nlohmann::json> ask_worker(const std::filesystem::path& data_directory);

}  // namespace cirrus::cli
