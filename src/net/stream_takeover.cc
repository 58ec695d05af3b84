// SPDX-License-Identifier: MIT
// Written by hand rather than with libcurl: after the answer the descriptor itself is wanted.
#include <algorithm>
#include <charconv>

#include "base/clock.h"
#include "base/strings.h"
#include "net/http_client.h"
#include "os/unix_socket.h"
#include "os/waker.h"

namespace cirrus::net {

namespace {

constexpr std::size_t kMaxHead = 64U << 10U;
constexpr auto kRefusalTime = std::chrono::seconds(2);  // for a body without a length

/// `/path?query` of a URL.
std::string target_of(const std::string& url) {
  const std::size_t host = url.find("://");
  const std::size_t path = host == std::string::npos ? 0 : url.find('/', host + 3);
  return path == std::string::npos ? "/" : url.substr(path);
}

/// The answer's head, read byte by byte so that nothing of the stream behind it is taken.
Result<std::string> read_head(int fd, const StopToken& stop, Monotonic deadline) {
  std::string head;
  while (!head.ends_with("\r\n\r\n")) {
    if (head.size() > kMaxHead) return error(Code::Unavailable, "the answer's head has no end");
    if (!CIRRUS_TRY(os::wait_readable(fd, stop, deadline))) {
      return stop.stop_requested()
                 ? error(Code::Cancelled, "the request was cancelled")
                 : error(Code::DeadlineExceeded, "the server did not answer in time");
    }
    char byte = 0;
    if (CIRRUS_TRY(os::read_some(fd, {&byte, 1})) == 0) {
      return error(Code::Unavailable, "the server closed the connection without an answer");
    }
    head.push_back(byte);
  }
  return head;
}

/// The value of a header in lower case; empty if it is absent.
std::string header_of(const std::string& head, std::string_view name) {
  for (const std::string& line : split(head, '\n')) {
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos && to_lower(line.substr(0, colon)) == name) {
      return to_lower(std::string(trim(std::string_view(line).substr(colon + 1))));
    }
  }
  return {};
}

/// The body of a refusal. The server may well keep the connection open behind it.
std::string refusal_body(int fd, const std::string& head, const StopToken& stop) {
  std::size_t length = kMaxHead;
  const std::string told = header_of(head, "content-length");
  std::from_chars(told.data(), told.data() + told.size(), length);
  length = std::min(length, kMaxHead);
  const bool chunked = header_of(head, "transfer-encoding") == "chunked";
  const Monotonic deadline = system_clock().now() + kRefusalTime;
  std::string body;
  char buffer[4096];
  while (body.size() < length && !(chunked && body.ends_with("\r\n0\r\n\r\n"))) {
    const Result<bool> readable = os::wait_readable(fd, stop, deadline);
    if (!readable.ok() || !readable.value()) break;
    const Result<std::size_t> got = os::read_some(fd, buffer);
    if (!got.ok() || got.value() == 0) break;
    body.append(buffer, got.value());
  }
  if (!chunked) return body;
  std::string joined;
  std::string_view rest = body;
  while (!rest.empty()) {
    std::size_t size = 0;
    const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), size, 16);
    const std::size_t line = rest.find("\r\n");
    if (parsed.ec != std::errc() || size == 0 || line == std::string_view::npos) break;
    rest.remove_prefix(line + 2);
    joined += rest.substr(0, size);
    rest.remove_prefix(std::min(size + 2, rest.size()));
  }
  return joined;
}

}  // namespace

Result<os::Fd> take_over_stream(const HttpRequest& request, const StopToken& stop,
                                HttpResponse* refusal) {
  const Monotonic deadline = system_clock().now() + request.timeout;
  os::Fd connection = CIRRUS_TRY(os::connect_unix(request.unix_socket));
  std::string head =
      fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\n", request.method, target_of(request.url));
  for (const auto& [name, value] : request.headers) head += fmt::format("{}: {}\r\n", name, value);
  head += fmt::format("Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {}\r\n\r\n",
                      request.body.size());
  CIRRUS_TRY(os::write_all(connection.get(), head + request.body));
  const std::string answer = CIRRUS_TRY(read_head(connection.get(), stop, deadline));
  int status = 0;
  const std::size_t space = answer.find(' ');
  if (space != std::string::npos) {
    std::from_chars(answer.data() + space + 1, answer.data() + answer.size(), status);
  }
  // Older servers say 200 and switch all the same. Source: Engine API, attach.
  if (status == 101 || status == 200) return connection;
  const std::string body = refusal_body(connection.get(), answer, stop);
  if (refusal != nullptr) {
    refusal->status = status;
    refusal->body = body;
  }
  const Code code = status == 404   ? Code::NotFound
                    : status == 400 ? Code::InvalidArgument
                                    : Code::FailedPrecondition;
  return error(code, "the server answered {}: {}", status, shorten(std::string(trim(body)), 500));
}

}  // namespace cirrus::net
