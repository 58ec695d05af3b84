// SPDX-License-Identifier: MIT
#include "agent/http_cache/http_cache.h"

#include <unistd.h>

#include <utility>

#include <nlohmann/json.hpp>

#include "agent/http_cache/webdav.h"
#include "base/encoding.h"
#include "base/ids.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "os/loopback.h"

namespace cirrus::agent {
namespace {

// Ours: a build with many compilers asks from many connections at once.
constexpr std::size_t kThreads = 16;
constexpr std::size_t kLongestQueue = 1024;
constexpr std::size_t kLongestKey = 1024;
// Ours: smaller bodies stay in memory.
constexpr std::uint64_t kSpoolFrom = 256 * 1024;

/// Protocols of the reference's sidecar that are not served. Source: reference agent.
struct Absent {
  std::string_view prefix;
  std::string_view name;
};
constexpr Absent kAbsent[] = {
    {"/twirp/github.actions.results.api.v1.CacheService/", "the GitHub Actions cache, version 2"},
    {"/_azureblob/", "the Azure Blob subset"},
    {"/tuist/", "Tuist's module cache"},
};

constexpr std::string_view kMetrics = "/metrics/";

net::Admission refusal(int status, std::string why) {
  net::Admission admission;
  admission.refusal = text_answer(status, std::move(why));
  return admission;
}

}  // namespace

Result<std::unique_ptr<HttpCache>> HttpCache::listen(Options options, rpc::BlobService& blobs) {
  Result<os::Fd> listener = os::listen_loopback(kUsualPort);
  if (!listener.ok() && listener.error().code() == Code::AlreadyExists) {
    listener = os::listen_loopback(0);
  }
  if (!listener.ok()) return std::move(listener).note("opening the task's HTTP cache").error();
  return std::unique_ptr<HttpCache>(
      new HttpCache(std::move(options), std::move(listener).value(), blobs));
}

HttpCache::HttpCache(Options options, os::Fd listener, rpc::BlobService& blobs)
    : options_(std::move(options)),
      port_(os::local_port(listener.get())),
      token_(random_hex(32)),
      listener_(std::move(listener)),
      objects_(blobs),
      actions_(objects_, options_.spool_directory),
      pool_(kThreads, kLongestQueue) {}

HttpCache::~HttpCache() {
  if (server_) server_->stop();
  pool_.stop();
}

std::string HttpCache::host() const {
  return "127.0.0.1:" + std::to_string(port_);
}

Status HttpCache::start() {
  net::HttpServerOptions options;
  options.listener = std::move(listener_);
  options.spool_directory = options_.spool_directory;
  server_ = CIRRUS_TRY(net::HttpServer::start(
      std::move(options),
      [this](const net::ServerRequest& head, const std::function<void(net::Admission)>& decided) {
        admit(head, decided);
      },
      [this](net::ServerRequest request, std::shared_ptr<net::Responder> responder) {
        handle(std::move(request), std::move(responder));
      }));
  return {};
}

void HttpCache::admit(const net::ServerRequest& head,
                      const std::function<void(net::Admission)>& decided) const {
  if (options_.only_uid) {
    const Result<uid_t> owner = os::loopback_owner(head.peer_port, port_);
    if (!owner.ok() || (owner.value() != *options_.only_uid && owner.value() != 0)) {
      return decided(refusal(403, "this cache serves the processes of one task only"));
    }
  }
  // A page in somebody's browser must not be able to ask, whatever name it found for 127.0.0.1.
  const std::string_view asked = head.header("host");
  const std::string_view name = asked.substr(0, asked.rfind(':'));
  if (!head.header("origin").empty() || (name != "127.0.0.1" && name != "localhost")) {
    return decided(refusal(403, "this cache is for scripts that call it 127.0.0.1 or localhost"));
  }
  if (head.path.starts_with(ActionsCache::kBase)) {
    constexpr std::string_view kBearer = "Bearer ";
    const std::string_view sent = head.header("authorization");
    if (!sent.starts_with(kBearer) || !token_.matches(sent.substr(kBearer.size()))) {
      return decided(refusal(401, "the bearer is not this task's ACTIONS_RUNTIME_TOKEN"));
    }
  }
  for (const Absent& one : kAbsent) {
    if (head.path.starts_with(one.prefix)) {
      return decided(refusal(501, fmt::format("{} is not served here; use plain GET and PUT, or "
                                              "the GitHub Actions cache, version 1",
                                              one.name)));
    }
  }
  net::Admission admission;
  admission.body_limit = CacheObjects::kLargest;
  const std::string_view length = head.header("content-length");
  admission.spool =
      length.empty() || length.size() > 6 || std::stoull("0" + std::string(length)) >= kSpoolFrom;
  decided(std::move(admission));
}

void HttpCache::handle(net::ServerRequest request, std::shared_ptr<net::Responder> responder) {
  const bool taken =
      pool_.run([this, request = std::move(request), responder](const StopToken& stop) mutable {
        if (request.path.starts_with(ActionsCache::kBase)) {
          return responder->respond(actions_.answer(request, "http://" + host(), stop));
        }
        if (request.path.starts_with(kMetrics)) return responder->respond(metrics(request));
        // Some clients escape keys and some do not: both mean the same. Source: reference agent,
        // which mixes them up.
        const std::string_view raw = std::string_view(request.path).substr(1);
        const Result<std::string> decoded = percent_decode(raw);
        // Keys travel as text: one that is none stays as it was sent.
        const bool is_text = decoded.ok() && is_utf8(decoded.value());
        const std::string key = is_text ? decoded.value() : std::string(raw);
        if (is_webdav_method(request.method) && key.size() <= kLongestKey) {
          return responder->respond(answer_webdav(request.method, key, objects_, stop));
        }
        if (key.empty() || key.size() > kLongestKey) {
          return responder->respond(
              text_answer(400, fmt::format("a key has 1 to {} bytes", kLongestKey)));
        }
        if (request.method == "GET") return objects_.get(key, responder, stop);
        if (request.method == "HEAD") return responder->respond(objects_.head(key, stop));
        if (request.method == "PUT" || request.method == "POST") {
          return responder->respond(objects_.put(key, request, stop));
        }
        if (request.method == "DELETE") return responder->respond(objects_.remove(key, stop));
        net::ServerResponse answer = text_answer(405, "GET, HEAD, PUT, POST and DELETE are served");
        answer.headers.emplace_back("Allow", "GET, HEAD, PUT, POST, DELETE");
        responder->respond(std::move(answer));
      });
  if (!taken) responder->respond(text_answer(503, "too many requests at once; try again"));
}

net::ServerResponse HttpCache::metrics(const net::ServerRequest& request) {
  if (request.path != "/metrics/cache") {
    return text_answer(501, "only /metrics/cache is served here");
  }
  TransferCounts& counts = objects_.counts();
  std::pair<const char*, std::atomic<std::uint64_t>&> all[] = {
      {"hits", counts.hits},
      {"misses", counts.misses},
      {"stored", counts.stored},
      {"failed", counts.failed},
      {"bytes_read", counts.bytes_read},
      {"bytes_written", counts.bytes_written}};
  if (request.method == "DELETE") {
    for (auto& [name, count] : all) count = 0;
    return {204, {}, ""};
  }
  if (request.header("accept").find("json") != std::string_view::npos) {
    nlohmann::json body;
    for (const auto& [name, count] : all) body[name] = count.load();
    return {200, {{"Content-Type", "application/json"}}, body.dump()};
  }
  std::string text;
  for (const auto& [name, count] : all) text += fmt::format("{} {}\n", name, count.load());
  return {200, {{"Content-Type", "text/plain; charset=utf-8"}}, std::move(text)};
}

}  // namespace cirrus::agent
