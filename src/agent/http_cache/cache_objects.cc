// SPDX-License-Identifier: MIT
#include "agent/http_cache/cache_objects.h"

#include <fcntl.h>

#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "os/fd.h"

namespace cirrus::agent {
namespace {

// Ours.
constexpr std::chrono::seconds kAnswerTime{30};
constexpr std::size_t kBuffer = 256 * 1024;
/// What is small is answered whole, and the connection stays open: compilers' caches ask for
/// thousands of small objects.
constexpr std::uint64_t kSmall = 1U << 20U;

net::ServerResponse object_head(std::uint64_t bytes) {
  return {200,
          {{"Content-Type", "application/octet-stream"}, {"Content-Length", std::to_string(bytes)}},
          ""};
}

}  // namespace

net::ServerResponse text_answer(int status, std::string text) {
  return {status, {{"Content-Type", "text/plain; charset=utf-8"}}, std::move(text) + "\n"};
}

int status_of(const Error& error) {
  switch (error.code()) {
    case Code::InvalidArgument: return 400;
    case Code::NotFound: return 404;
    case Code::PermissionDenied:
    case Code::Unauthenticated: return 403;
    case Code::ResourceExhausted: return 507;
    case Code::Unimplemented: return 501;
    case Code::Unavailable:
    case Code::DeadlineExceeded:
    case Code::Cancelled: return 503;
    default: return 502;
  }
}

Result<std::optional<rpc::CacheFound>> CacheObjects::find(const std::string& key,
                                                          const std::vector<std::string>& prefixes,
                                                          const StopToken& stop) {
  return blobs_.find_cache(key, prefixes, stop, std::chrono::steady_clock::now() + kAnswerTime);
}

void CacheObjects::get(const std::string& key, const std::shared_ptr<net::Responder>& responder,
                       const StopToken& stop) {
  const Result<std::optional<rpc::CacheFound>> found = find(key, {}, stop);
  if (!found.ok() || !found.value()) {
    ++(found.ok() ? counts_.misses : counts_.failed);
    responder->respond(text_answer(
        404, found.ok() ? "there is no cache '" + key + "'" : found.error().to_string()));
    return;
  }
  Result<std::unique_ptr<rpc::BlobSource>> source = blobs_.read_cache(key, stop);
  Result<std::string> bytes =
      source.ok() ? source.value()->read() : Result<std::string>(source.error());
  if (!bytes.ok()) {
    ++counts_.failed;
    responder->respond(text_answer(404, bytes.error().to_string()));
    return;
  }
  ++counts_.hits;
  counts_.bytes_read += found.value()->bytes;
  const std::uint64_t size = found.value()->bytes;
  if (size <= kSmall) {
    std::string whole = std::move(bytes).value();
    while (whole.size() < size) {
      bytes = source.value()->read();
      if (!bytes.ok() || bytes.value().empty()) break;
      whole += bytes.value();
    }
    if (whole.size() != size) {
      return responder->respond(text_answer(404, "the cache could not be read to its end"));
    }
    net::ServerResponse answer = object_head(size);
    answer.body = std::move(whole);
    return responder->respond(std::move(answer));
  }
  const std::shared_ptr<net::ByteStream> body = responder->stream(object_head(size));
  std::uint64_t sent = 0;
  while (bytes.ok() && !bytes.value().empty()) {
    sent += bytes.value().size();
    // More than was announced would be read as the next answer.
    if (sent > size || !body->write_blocking(std::move(bytes).value(), stop)) return body->abort();
    bytes = source.value()->read();
  }
  if (!bytes.ok() || sent != size) {
    log_warning("a cache could not be read to its end", {{"key", key}, {"bytes", sent}});
    return body->abort();
  }
  body->finish();
}

net::ServerResponse CacheObjects::head(const std::string& key, const StopToken& stop) {
  const Result<std::optional<rpc::CacheFound>> found = find(key, {}, stop);
  if (!found.ok() || !found.value()) return {404, {}, ""};
  return object_head(found.value()->bytes);
}

net::ServerResponse CacheObjects::put(const std::string& key, const net::ServerRequest& request,
                                      const StopToken& stop) {
  const Status stored = request.spooled ? store_file(key, *request.spooled, stop)
                                        : store_bytes(key, request.body, stop);
  if (stored.ok()) return {201, {}, ""};
  ++counts_.failed;
  return text_answer(status_of(stored.error()), stored.error().to_string());
}

net::ServerResponse CacheObjects::remove(const std::string& key, const StopToken& stop) {
  const Status removed =
      blobs_.delete_cache(key, stop, std::chrono::steady_clock::now() + kAnswerTime);
  if (removed.ok()) return {204, {}, ""};
  return text_answer(status_of(removed.error()), removed.error().to_string());
}

Status CacheObjects::store_bytes(const std::string& key, std::string_view bytes,
                                 const StopToken& stop) {
  const std::unique_ptr<rpc::BlobSink> sink = CIRRUS_TRY(blobs_.write_cache(key, stop));
  CIRRUS_TRY(sink->write(bytes));
  CIRRUS_TRY(sink->finish());
  ++counts_.stored;
  counts_.bytes_written += bytes.size();
  return {};
}

Status CacheObjects::store_file(const std::string& key, const std::filesystem::path& file,
                                const StopToken& stop) {
  const os::Fd input = CIRRUS_TRY(os::open_file(file, O_RDONLY | O_NOFOLLOW));
  const std::unique_ptr<rpc::BlobSink> sink = CIRRUS_TRY(blobs_.write_cache(key, stop));
  std::vector<char> buffer(kBuffer);
  std::uint64_t all = 0;
  for (;;) {
    const std::size_t got = CIRRUS_TRY(os::read_some(input.get(), buffer));
    if (got == 0) break;
    CIRRUS_TRY(sink->write({buffer.data(), got}));
    all += got;
  }
  CIRRUS_TRY(sink->finish());
  ++counts_.stored;
  counts_.bytes_written += all;
  return {};
}

}  // namespace cirrus::agent
