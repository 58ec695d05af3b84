// SPDX-License-Identifier: MIT
#include "net/http_client.h"

#include <algorithm>
#include <memory>

#include <curl/curl.h>

#include "base/strings.h"

namespace cirrus::net {

namespace {

struct EasyDelete {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct ListDelete {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct Exchange {
  HttpResponse response;
  const std::function<bool(std::string_view)>* on_data = nullptr;
  const StopToken* stop = nullptr;
  std::size_t limit = 0;
  bool too_large = false;
  bool ended_by_reader = false;
  CURL* handle = nullptr;
  const HttpRequest::StreamedBody* streamed = nullptr;
  std::uint64_t sent = 0;  // of the streamed body
};

std::size_t on_send(char* buffer, std::size_t size, std::size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  const auto room = static_cast<std::size_t>(
      std::min<std::uint64_t>(size * count, exchange.streamed->bytes - exchange.sent));
  if (room == 0) return 0;
  const std::size_t got = exchange.streamed->read(buffer, room);
  if (got == 0) return CURL_READFUNC_ABORT;
  exchange.sent += got;
  return got;
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  const std::string_view bytes(data, size * count);
  long status = 0;
  curl_easy_getinfo(exchange.handle, CURLINFO_RESPONSE_CODE, &status);
  if (exchange.on_data != nullptr && status >= 200 && status < 300) {
    if ((*exchange.on_data)(bytes)) return bytes.size();
    exchange.ended_by_reader = true;
    return 0;
  }
  if (exchange.response.body.size() + bytes.size() > exchange.limit) {
    exchange.too_large = true;
    return 0;
  }
  exchange.response.body += bytes;
  return bytes.size();
}

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  const std::string_view line(data, size * count);
  const std::size_t colon = line.find(':');
  if (colon != std::string_view::npos) {
    exchange.response.headers[to_lower(line.substr(0, colon))] =
        std::string(trim(line.substr(colon + 1)));
  }
  return size * count;
}

int on_progress(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Exchange*>(context)->stop->stop_requested() ? 1 : 0;
}

Result<HttpResponse> perform(const HttpRequest& request, Exchange& exchange) {
  const std::unique_ptr<CURL, EasyDelete> handle(curl_easy_init());
  if (!handle) return error(Code::Internal, "the HTTP library could not start");
  exchange.handle = handle.get();
  std::unique_ptr<curl_slist, ListDelete> headers;
  for (const auto& [name, value] : request.headers) {
    headers.reset(curl_slist_append(headers.release(), (name + ": " + value).c_str()));
  }
  // The library would wait for a go-ahead before bodies over 1 MiB.
  headers.reset(curl_slist_append(headers.release(), "Expect:"));
  CURL* curl = handle.get();
  char message[CURL_ERROR_SIZE] = {};
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  // Its answer has a size and no body.
  if (request.method == "HEAD") curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  if (!request.ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, request.ca_file.c_str());
  if (!request.unix_socket.empty()) {
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, request.unix_socket.c_str());
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
  }
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 10'000L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
  if (request.stall.count() > 0) {
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.stall.count()));
  }
  if (request.streamed_body && request.streamed_body->bytes > 0) {
    exchange.streamed = &*request.streamed_body;
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
                     static_cast<curl_off_t>(request.streamed_body->bytes));
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_send);
    curl_easy_setopt(curl, CURLOPT_READDATA, &exchange);
  } else if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body.data());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
  }
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &exchange);
  const CURLcode code = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &exchange.response.status);
  if (code == CURLE_OK || exchange.ended_by_reader) return std::move(exchange.response);
  if (exchange.too_large) {
    return error(Code::ResourceExhausted, "the answer of '{}' is over {} bytes", request.url,
                 exchange.limit);
  }
  if (exchange.stop->stop_requested()) return error(Code::Cancelled, "the request was cancelled");
  const char* reason = message[0] != '\0' ? message : curl_easy_strerror(code);
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return error(Code::DeadlineExceeded, "'{}' did not answer in time: {}", request.url, reason);
  }
  if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) {
    return error(Code::InvalidArgument, "'{}' is no http or https address", request.url);
  }
  return error(Code::Unavailable, "cannot reach '{}': {}", request.url, reason);
}

}  // namespace

HttpClient::HttpClient() {
  // Once per process and never undone; the library counts calls itself.
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)initialised;
}

Result<HttpResponse> HttpClient::send(const HttpRequest& request, const StopToken& stop,
                                      std::size_t limit) const {
  Exchange exchange;
  exchange.stop = &stop;
  exchange.limit = limit;
  return perform(request, exchange);
}

Result<HttpResponse> HttpClient::stream(const HttpRequest& request,
                                        const std::function<bool(std::string_view)>& on_data,
                                        const StopToken& stop) const {
  Exchange exchange;
  exchange.stop = &stop;
  exchange.limit = 1U << 20U;
  exchange.on_data = &on_data;
  return perform(request, exchange);
}

bool EventParser::feed(std::string_view bytes, const std::function<bool(const Event&)>& on_event) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    line_ += bytes.substr(0, end);
    if (end == std::string_view::npos) return true;
    bytes.remove_prefix(end + 1);
    std::string line = std::exchange(line_, {});
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) {
      Event event = std::exchange(event_, {});
      const bool complete = std::exchange(has_data_, false) || event.name != "message";
      if (complete && !on_event(event)) return false;
      continue;
    }
    if (line.starts_with(':')) continue;
    const std::size_t colon = line.find(':');
    const std::string field = line.substr(0, colon);
    std::string value = colon == std::string::npos ? "" : line.substr(colon + 1);
    if (value.starts_with(' ')) value.erase(0, 1);
    if (field == "event") event_.name = value;
    if (field == "id") event_.id = value;
    if (field == "data") {
      if (has_data_) event_.data += '\n';
      event_.data += value;
      has_data_ = true;
    }
  }
  return true;
}

}  // namespace cirrus::net
