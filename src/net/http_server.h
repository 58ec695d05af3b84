// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "net/http_types.h"
#include "os/fd.h"

namespace cirrus::net {

/// What may happen to a request once its head is known, before its body is read.
struct Admission {
  std::optional<ServerResponse> refusal;  ///< answered instead; the connection is closed
  std::uint64_t body_limit = 1U << 20U;
  bool spool = false;  ///< the body goes to a file
  std::any principal;
};

/// PEM files. Replaced files are taken for new connections without a restart.
struct TlsFiles {
  std::filesystem::path certificate;  ///< with its chain
  std::filesystem::path key;
};

struct HttpServerOptions {
  std::string address;   ///< HOST:PORT; port 0 picks a free one
  os::Fd listener = {};  ///< a listening IPv4 socket; if valid, served instead of `address`
  std::filesystem::path spool_directory;
  std::optional<TlsFiles> tls;  ///< absent: cleartext
  std::size_t max_connections = 4096;
  std::size_t max_header_bytes = 16 * 1024;
  std::chrono::seconds header_timeout{30};
  std::chrono::seconds transfer_timeout{60};  ///< without any progress
  /// How long bytes of a client are thrown away that was answered before it had sent all. If the
  /// connection was closed at once, its next write would fail and the answer would be lost.
  std::chrono::milliseconds linger{10'000};
  std::chrono::seconds keepalive_comment{20};  ///< on idle event streams
  std::chrono::seconds drain_timeout{2};       ///< for answers under way when it stops
};

/// Decides about a request by its head; may answer later, from any thread, exactly once.
using Admit =
    std::function<void(const ServerRequest& head, std::function<void(Admission)> decided)>;
/// Handles a whole request; must not block.
using Handle = std::function<void(ServerRequest request, std::shared_ptr<Responder> responder)>;

/// HTTP/1.1 on one thread. Slow work belongs elsewhere; answers may come from any thread.
class HttpServer {
 public:
  /// Serves when it returns. Errors: Unavailable if the address cannot be listened on,
  /// InvalidArgument if it is none or the TLS files cannot be used.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, Admit admit,
                                                   Handle handle);
  virtual ~HttpServer() = default;
  virtual int port() const = 0;
  /// Takes no more, lets answers under way end, ends event streams cleanly, closes what is slow,
  /// and joins. Safe to call twice.
  virtual void stop() = 0;
};

}  // namespace cirrus::net
