// SPDX-License-Identifier: MIT
// HttpClient: requests over libcurl. One call, one answer; or a body handed on as it arrives.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/encoding.h"
#include "base/result.h"
#include "base/stop.h"
#include "os/fd.h"

namespace cirrus::net {

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  /// Sent instead of `body`, piece by piece, with its size announced. `read` fills a buffer and
  /// says how much; 0 before the end breaks the exchange off. It is never asked to start over.
  struct StreamedBody {
    std::uint64_t bytes = 0;
    std::function<std::size_t(char* buffer, std::size_t room)> read;
  };
  std::optional<StreamedBody> streamed_body = {};
  /// Connect here instead of to the URL's host; empty: TCP.
  std::string unix_socket = {};
  /// Certificates to trust instead of the system's, for `https`; empty: the system's.
  std::string ca_file = {};
  /// For the whole exchange; 0: no limit (streams end by their own means).
  std::chrono::milliseconds timeout{30'000};
  /// Ends an exchange in which nothing moved for so long; 0: no limit.
  std::chrono::seconds stall{0};
};

struct HttpResponse {
  long status = 0;
  /// Names in lower case.
  std::map<std::string, std::string> headers;
  std::string body;
};

/// Thread-safe: every call has a connection of its own unless the library shares one. Proxy
/// variables are honoured except for loopback; redirects are not followed.
class HttpClient {
 public:
  HttpClient();

  /// Errors: Unavailable if the server cannot be reached, DeadlineExceeded, Cancelled;
  /// ResourceExhausted if the body is over `limit` bytes. A status of 400 or more is no error here.
  Result<HttpResponse> send(const HttpRequest& request, const StopToken& stop = {},
                            std::size_t limit = 64U << 20U) const;

  /// As `send`, but hands the body of a 2xx answer to `on_data` piece by piece; false from it ends
  /// the exchange successfully. Bodies of other answers are collected in the response.
  Result<HttpResponse> stream(const HttpRequest& request,
                              const std::function<bool(std::string_view)>& on_data,
                              const StopToken& stop = {}) const;
};

/// Asks a server on a unix socket to turn the connection into a plain byte stream (`Upgrade: tcp`,
/// as container engines do) and gives it to the caller, who owns it. Nothing the server sends after
/// its answer is lost or read ahead. Errors: Unavailable, DeadlineExceeded, Cancelled; if the
/// server answers otherwise, its status as NotFound, InvalidArgument or FailedPrecondition with the
/// body, which also go to `refusal`.
Result<os::Fd> take_over_stream(const HttpRequest& request, const StopToken& stop,
                                HttpResponse* refusal = nullptr);

using cirrus::percent_encode;

/// Splits a stream of bytes into server-sent events.
class EventParser {
 public:
  struct Event {
    std::string name = "message";
    std::string data;
    std::string id;
  };
  /// Feeds bytes; every complete event goes to `on_event`, whose false stops and is returned.
  bool feed(std::string_view bytes, const std::function<bool(const Event&)>& on_event);

 private:
  std::string line_;
  Event event_;
  bool has_data_ = false;
};

}  // namespace cirrus::net
