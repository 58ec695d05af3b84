// SPDX-License-Identifier: MIT
// Requests and responses as plain values.
#pragma once

#include <any>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/encoding.h"
#include "base/result.h"
#include "base/stop.h"

namespace cirrus::net {

struct ServerRequest {
  std::string method;
  std::string target;                            ///< as sent: path and query
  std::string path;                              ///< not decoded
  std::map<std::string, std::string> query;      ///< decoded; the last of equal names
  std::map<std::string, std::string> headers;    ///< names in lower case
  std::string body;                              ///< unless it was spooled
  std::optional<std::filesystem::path> spooled;  ///< the body as a file, removed with the request
  std::shared_ptr<void> spool_owner;             ///< keeps that file
  std::string peer;                              ///< the client's address, without its port
  int peer_port = 0;
  std::any principal;  ///< what admission found out about the caller

  /// The value of a header; empty if absent.
  std::string_view header(const std::string& lower_case_name) const;
};

struct ServerResponse {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

/// A response body that is sent piece by piece. Thread-safe; never blocks except where it says so.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Queues bytes. False once the client is gone: stop producing.
  virtual bool write(std::string bytes) = 0;
  /// Waits until less than a megabyte is queued, then as `write`. Not on the server's own thread.
  virtual bool write_blocking(std::string bytes, const StopToken& stop) = 0;
  /// The body is complete.
  virtual void finish() = 0;
  /// The body cannot be completed: the connection breaks, so that nobody takes it for whole.
  virtual void abort() = 0;
  /// Bytes queued and not yet with the kernel.
  virtual std::size_t pending() const = 0;
  /// Calls `closed` (once, from the server's thread) when the client is gone or all was sent; at
  /// once if that has happened.
  virtual void on_close(std::function<void()> closed) = 0;
  /// Calls `drained` from the server's thread whenever bytes went out and little is queued.
  virtual void on_drain(std::function<void()> drained) = 0;
};

/// Where the answer to one request goes. Exactly one of the two calls, from any thread.
class Responder {
 public:
  virtual ~Responder() = default;
  /// An answer to HEAD may say the Content-Length it has no body for.
  virtual void respond(ServerResponse response) = 0;
  /// Sends the head and returns the stream for the body: as many bytes as its Content-Length says,
  /// or chunks where it says none.
  virtual std::shared_ptr<ByteStream> stream(ServerResponse head) = 0;
};

/// Server-sent events over a ByteStream.
class EventStream {
 public:
  /// Answers with the head of an event stream.
  explicit EventStream(Responder& responder);
  /// One event; `data` may have several lines. `id` comes back as `Last-Event-ID` from a client
  /// that reconnects; empty: none. False once the client is gone.
  bool send(std::string_view event, std::string_view data, std::string_view id = {});
  void finish() { stream_->finish(); }
  std::size_t pending() const { return stream_->pending(); }
  void on_drain(std::function<void()> drained) { stream_->on_drain(std::move(drained)); }
  void on_close(std::function<void()> closed) { stream_->on_close(std::move(closed)); }

 private:
  std::shared_ptr<ByteStream> stream_;
};

/// The decoded parts of a query string. Bad escapes are kept as they are.
std::map<std::string, std::string> parse_query(std::string_view query);

using cirrus::base64_decode;
using cirrus::base64_encode;
using cirrus::percent_decode;

}  // namespace cirrus::net
