// SPDX-License-Identifier: MIT
// The endpoint string that operators write. Source: protocol, endpoint string grammar.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace cirrus::rpc {

/// Where the hosted service was; the reference's default of `--rpc-endpoint`.
inline constexpr char kHostedEndpoint[] = "https://grpc.cirrus-ci.com:443";

struct Endpoint {
  /// What gRPC dials: `host:port` or `unix:/path`.
  std::string target;
  bool tls = true;
  /// As written, less one trailing slash.
  std::string text;

  /// `http://h:p` and `unix:` are cleartext, `https://h:p` and anything else TLS. A missing port
  /// is 443, also for `http://`. Errors: InvalidArgument for an empty string, white space, or a
  /// path after the port.
  static Result<Endpoint> parse(std::string_view text);
};

/// The address of caches at a server that its caller reached as `endpoint`: the same place, with
/// another scheme. Source: protocol §9. Errors: FailedPrecondition for anything else than an
/// endpoint with its scheme.
Result<std::string> cache_address(std::string_view endpoint);

}  // namespace cirrus::rpc
