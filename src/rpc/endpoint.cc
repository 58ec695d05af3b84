// SPDX-License-Identifier: MIT
#include "rpc/endpoint.h"

#include <algorithm>

namespace cirrus::rpc {

Result<Endpoint> Endpoint::parse(std::string_view text) {
  const std::string_view original = text;
  if (text.ends_with('/')) text.remove_suffix(1);
  Endpoint endpoint;
  endpoint.text = std::string(text);
  if (text.empty() || std::any_of(text.begin(), text.end(),
                                  [](char c) { return static_cast<unsigned char>(c) <= ' '; })) {
    return error(Code::InvalidArgument,
                 "'{}' is no endpoint: write http://HOST:PORT, https://HOST:PORT or unix:PATH",
                 original);
  }
  if (text.starts_with("unix:")) {
    endpoint.tls = false;
    endpoint.target = std::string(text);
    return endpoint;
  }
  std::string_view host = text;
  if (host.starts_with("http://")) {
    endpoint.tls = false;
    host.remove_prefix(7);
  } else if (host.starts_with("https://")) {
    host.remove_prefix(8);
  }
  if (host.empty() || host.find('/') != std::string_view::npos) {
    return error(Code::InvalidArgument,
                 "endpoint '{}' has a path: only scheme, host and port are allowed", original);
  }
  endpoint.target = std::string(host);
  const bool has_port = host.front() == '[' ? host.find("]:") != std::string_view::npos
                                            : host.find(':') != std::string_view::npos;
  if (!has_port) endpoint.target += ":443";
  return endpoint;
}

Result<std::string> cache_address(std::string_view endpoint) {
  if (endpoint.starts_with("unix:")) return std::string(endpoint);
  if (endpoint.starts_with("http://")) return "grpc://" + std::string(endpoint.substr(7));
  if (endpoint.starts_with("https://")) return "grpcs://" + std::string(endpoint.substr(8));
  return error(Code::FailedPrecondition,
               "the call does not say which address it used (org.cirruslabs.api-endpoint)");
}

}  // namespace cirrus::rpc
