// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "controller/blobs/retention.h"
#include "controller/build_retention.h"
#include "controller/core/calls.h"
#include "model/entity_ids.h"

namespace cirrus::controller {

struct ControllerOptions {
  std::filesystem::path data_dir;
  std::string rpc_address = "127.0.0.1:7470";   ///< for workers; port 0 picks a free one
  std::string http_address = "127.0.0.1:7480";  ///< API and git; port 0 picks a free one
  /// What tasks and people use to reach the HTTP port; empty: derived from the address.
  std::string public_http_url;
  /// What workers use to reach the gRPC port; empty: derived from the address.
  std::string public_rpc_endpoint;
  /// PEM files for both ports; both or none. Taken anew when they change.
  std::filesystem::path tls_certificate;
  std::filesystem::path tls_key;
  /// Listen on addresses other than loopback although nothing is encrypted.
  bool allow_cleartext = false;
  /// Rows live in memory and end with the controller; logs and blobs still need `data_dir`.
  bool in_memory = false;
  blobs::RetentionLimits retention;
  BuildLimits builds;
  /// With less than this free on the disk no caches and artifacts are taken; 0: no limit.
  std::uint64_t least_free_for_uploads = 512ULL << 20U;
  /// What the disk has left; empty: what the data directory's has. For tests.
  std::function<Result<std::uint64_t>()> free_space;
  /// Of the pool `default`, when it is made: silence after which a worker's tasks run again.
  std::chrono::milliseconds lost_after{std::chrono::minutes(10)};
};

/// The whole control plane: store, state loop, both servers. Needs its data directory for itself.
class Controller {
 public:
  /// Serves when it returns. On the first start makes the pool `default`, its registration token
  /// and an admin token. Errors, each one sentence that names the thing: AlreadyExists (another
  /// controller has the directory), PermissionDenied, Unavailable (address), InvalidArgument,
  /// FailedPrecondition (cleartext, newer store), DataLoss. Nothing keeps running after an error.
  static Result<std::unique_ptr<Controller>> start(ControllerOptions options, const Clock& clock);
  /// What `start` would say of the options by themselves, without touching anything.
  static Status check(const ControllerOptions& options);
  virtual ~Controller() = default;

  virtual std::string rpc_endpoint() const = 0;  ///< `http://127.0.0.1:PORT`, with TLS `https:`
  virtual std::string http_url() const = 0;
  virtual std::filesystem::path admin_token_file() const = 0;         ///< mode 0600
  virtual std::filesystem::path registration_token_file() const = 0;  ///< mode 0600
  /// A build whose tasks were evaluated here, as `POST /api/v1/builds` makes one. Blocks until it
  /// is stored. Errors: as the core's `submit`.
  virtual Result<model::BuildId> submit(core::NewBuild build) = 0;
  /// Where the repository `owner/name` is kept, or would be.
  virtual Result<std::filesystem::path> repository_path(const std::string& repository) const = 0;
  /// Answers parked polls and takes no more work; destroy it next. Safe from any thread.
  virtual void request_stop() = 0;
};

}  // namespace cirrus::controller
