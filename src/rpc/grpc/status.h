// SPDX-License-Identifier: MIT
// Error and grpc::Status are the same numbers.
#pragma once

#include <grpcpp/support/status.h>

#include "base/result.h"

namespace cirrus::rpc {

inline Status from_grpc(const grpc::Status& status) {
  if (status.ok()) return {};
  return Error(static_cast<Code>(status.error_code()), status.error_message());
}

inline grpc::Status to_grpc(const Error& failure) {
  return grpc::Status(static_cast<grpc::StatusCode>(failure.code()), failure.to_string());
}

inline grpc::Status to_grpc(const Status& status) {
  return status.ok() ? grpc::Status::OK : to_grpc(status.error());
}

}  // namespace cirrus::rpc
