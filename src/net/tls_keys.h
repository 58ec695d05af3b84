// SPDX-License-Identifier: MIT
// Inside the HTTP server: a certificate and its key, taken anew when the files change.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include <boost/asio/ssl/context.hpp>

#include "base/clock.h"
#include "base/result.h"
#include "net/http_server.h"

namespace cirrus::net::server {

class TlsKeys {
 public:
  /// Errors: InvalidArgument, saying which file is wrong and how.
  static Result<std::shared_ptr<TlsKeys>> load(const TlsFiles& files);

  /// For a new connection. Looks at the files at most once a second; a pair that does not load is
  /// logged and the last good one stays. Server thread only.
  std::shared_ptr<boost::asio::ssl::context> current();

 private:
  explicit TlsKeys(TlsFiles files) : files_(std::move(files)) {}
  Result<std::shared_ptr<boost::asio::ssl::context>> read() const;
  /// Names the state of both files.
  std::string stamp() const;

  const TlsFiles files_;
  std::shared_ptr<boost::asio::ssl::context> context_;
  std::string stamp_;
  Monotonic looked_{};
};

}  // namespace cirrus::net::server
