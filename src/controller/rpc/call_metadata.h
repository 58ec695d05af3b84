// SPDX-License-Identifier: MIT
// What travels beside the messages: credentials, features, offsets.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include <grpcpp/grpcpp.h>

#include "base/result.h"
#include "controller/core/calls.h"

namespace cirrus::controller::rpc {

/// The value of a request header; empty if it is absent.
std::string header(const grpc::CallbackServerContext& context, const char* key);
/// A decimal header; nullopt if absent. Errors: InvalidArgument.
Result<std::optional<std::uint64_t>> number_header(const grpc::CallbackServerContext& context,
                                                   const char* key);

/// The caller's address without its port: `127.0.0.1`, `[::1]`; `unix` for a local socket.
std::string peer_address(const grpc::CallbackServerContext& context);
std::string peer_address(const std::string& peer);

/// Source of the names: protocol §4; `cirrus-` ones are ours.
core::WorkerCredential worker_credential(const grpc::CallbackServerContext& context);
/// The same of a call's metadata as a map, with `peer` for where it came from.
core::WorkerCredential worker_credential(const std::map<std::string, std::string>& metadata);
core::TaskCredential task_credential(const grpc::CallbackServerContext& context);
core::WorkerFeatures worker_features(const grpc::CallbackServerContext& context);

/// Tells the peer what we can do, in the initial metadata.
void announce_features(grpc::CallbackServerContext& context);

/// The codes are the same numbers.
grpc::Status to_status(const Error& failure);
template <typename T>
grpc::Status to_status(const Result<T>& result) {
  return result.ok() ? grpc::Status::OK : to_status(result.error());
}
/// Of stored bytes: what our disk refuses (read-only, broken) is UNAVAILABLE, because whoever sends
/// them keeps them and comes again. As PERMISSION_DENIED it would mean that the task is over.
Error disk_failure(Error failure);
template <typename T>
grpc::Status to_disk_status(const Result<T>& result) {
  return result.ok() ? grpc::Status::OK : to_status(disk_failure(result.error()));
}
/// For calls that arrive while we go down.
grpc::Status shutting_down();

}  // namespace cirrus::controller::rpc
