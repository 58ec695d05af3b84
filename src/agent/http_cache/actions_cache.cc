// SPDX-License-Identifier: MIT
#include "agent/http_cache/actions_cache.h"

#include <fcntl.h>

#include <charconv>
#include <optional>
#include <random>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/ids.h"
#include "base/strings.h"
#include "base/utf8.h"

namespace cirrus::agent {
namespace {

using Json = nlohmann::json;

// Source: GitHub's own limits of keys and of what one request may list.
constexpr std::size_t kLongestKey = 512;
constexpr std::size_t kMostKeys = 10;
constexpr std::size_t kBuffer = 256 * 1024;

net::ServerResponse json_answer(int status, const Json& body) {
  return {status, {{"Content-Type", "application/json"}}, body.dump()};
}

net::ServerResponse refuse(int status, const std::string& why) {
  return json_answer(status, {{"message", why}});
}

std::string stored_key(const std::string& version, const std::string& key) {
  return percent_encode(version) + "-" + percent_encode(key);
}

struct Range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  ///< one past the last byte
};

/// `bytes 0-1023/*`.
std::optional<Range> parse_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  const char* const end = text.data() + text.size();
  const auto [after_first, bad_first] = std::from_chars(text.data(), end, first);
  if (bad_first != std::errc() || after_first == end || *after_first != '-') return std::nullopt;
  const auto [after_last, bad_last] = std::from_chars(after_first + 1, end, last);
  if (bad_last != std::errc() || after_last == end || *after_last != '/') return std::nullopt;
  if (last < first || last >= CacheObjects::kLargest) return std::nullopt;
  return Range{first, last + 1};
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// Copies a request's body to a place in a file.
Status write_at(int file, std::uint64_t offset, const net::ServerRequest& request) {
  if (!request.spooled) return os::write_all_at(file, request.body, offset);
  const os::Fd input = CIRRUS_TRY(os::open_file(*request.spooled, O_RDONLY | O_NOFOLLOW));
  std::vector<char> buffer(kBuffer);
  for (;;) {
    const std::size_t got = CIRRUS_TRY(os::read_some(input.get(), buffer));
    if (got == 0) return {};
    CIRRUS_TRY(os::write_all_at(file, {buffer.data(), got}, offset));
    offset += got;
  }
}

std::uint64_t body_size(const net::ServerRequest& request) {
  if (!request.spooled) return request.body.size();
  std::error_code failure;
  const std::uintmax_t size = std::filesystem::file_size(*request.spooled, failure);
  return failure ? 0 : size;
}

}  // namespace

ActionsCache::Upload::~Upload() {
  std::error_code ignored;
  if (!path.empty()) std::filesystem::remove(path, ignored);
}

net::ServerResponse ActionsCache::answer(const net::ServerRequest& request,
                                         const std::string& base_url, const StopToken& stop) {
  const std::string_view route = std::string_view(request.path).substr(kBase.size());
  if (route == "cache" && request.method == "GET") return look_up(request, base_url, stop);
  if (route == "caches" && request.method == "POST") return reserve(request, stop);
  constexpr std::string_view kUpload = "caches/";
  if (route.starts_with(kUpload)) {
    const std::string_view number = route.substr(kUpload.size());
    std::uint64_t id = 0;
    const auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), id);
    if (failure == std::errc() && end == number.data() + number.size()) {
      if (request.method == "PATCH") return receive(id, request);
      if (request.method == "POST") return commit(id, request, stop);
    }
  }
  return refuse(404, "the cache service has no such call");
}

net::ServerResponse ActionsCache::look_up(const net::ServerRequest& request,
                                          const std::string& base_url, const StopToken& stop) {
  const auto keys = request.query.find("keys");
  const auto version = request.query.find("version");
  if (keys == request.query.end() || version == request.query.end() || keys->second.empty()) {
    return refuse(400, "'keys' and 'version' are needed");
  }
  const std::vector<std::string> names = split(keys->second, ',');
  if (names.size() > kMostKeys) return refuse(400, fmt::format("more than {} keys", kMostKeys));
  std::vector<std::string> prefixes;
  for (std::size_t i = 1; i < names.size(); ++i) {
    prefixes.push_back(stored_key(version->second, std::string(trim(names[i]))));
  }
  const std::string exact = stored_key(version->second, std::string(trim(names[0])));
  const Result<std::optional<rpc::CacheFound>> found = objects_.find(exact, prefixes, stop);
  if (!found.ok()) return refuse(status_of(found.error()), found.error().to_string());
  if (!found.value()) {
    ++objects_.counts().misses;
    return {204, {}, ""};
  }
  const std::string& key = found.value()->key;
  const Result<std::string> name =
      percent_decode(std::string_view(key).substr(percent_encode(version->second).size() + 1));
  return json_answer(200, {{"cacheKey", as_utf8(name.ok() ? name.value() : key)},
                           {"scope", "task"},
                           {"archiveLocation", base_url + "/" + percent_encode(key)}});
}

net::ServerResponse ActionsCache::reserve(const net::ServerRequest& request,
                                          const StopToken& stop) {
  const Json body = Json::parse(request.body, nullptr, /*allow_exceptions=*/false);
  const std::string key = text_of(body, "key");
  const std::string version = text_of(body, "version");
  if (key.empty() || version.empty()) return refuse(400, "'key' and 'version' are needed");
  if (key.size() > kLongestKey) {
    return refuse(400, fmt::format("the key is longer than {} bytes", kLongestKey));
  }
  const std::string stored = stored_key(version, key);
  const Result<std::optional<rpc::CacheFound>> known = objects_.find(stored, {}, stop);
  if (!known.ok()) return refuse(status_of(known.error()), known.error().to_string());
  if (known.value()) return refuse(409, fmt::format("there is a cache '{}' already", key));
  auto upload = std::make_shared<Upload>();
  upload->key = stored;
  upload->path = directory_ / ("upload-" + random_hex(8));
  Result<os::Fd> file = os::open_file(upload->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (!file.ok()) return refuse(507, file.error().to_string());
  upload->file = std::move(file).value();
  // Source: reference agent: below 2^53, which scripts can count to.
  std::random_device device;
  const std::uint64_t id =
      ((static_cast<std::uint64_t>(device()) << 21U) ^ device()) & ((1ULL << 53U) - 1);
  const bool added = uploads_.with([&](Uploads& uploads) {
    return uploads.size() < kMostUploads && uploads.emplace(id, std::move(upload)).second;
  });
  if (!added) return refuse(429, "too many uploads have been begun and not ended");
  return json_answer(201, {{"cacheId", id}});
}

std::shared_ptr<ActionsCache::Upload> ActionsCache::find(std::uint64_t id) {
  return uploads_.with([id](Uploads& uploads) {
    const auto found = uploads.find(id);
    return found == uploads.end() || found->second->committing ? nullptr : found->second;
  });
}

net::ServerResponse ActionsCache::receive(std::uint64_t id, const net::ServerRequest& request) {
  const std::shared_ptr<Upload> upload = find(id);
  if (!upload) return refuse(404, "no such upload was begun");
  const std::optional<Range> range = parse_range(request.header("content-range"));
  if (!range) return refuse(400, "the Content-Range is no range of bytes");
  const std::uint64_t size = body_size(request);
  if (range->end - range->begin != size) {
    return refuse(400, fmt::format("the Content-Range is of {} bytes, the body of {}",
                                   range->end - range->begin, size));
  }
  const Status written = write_at(upload->file.get(), range->begin, request);
  if (!written.ok()) return refuse(507, written.error().to_string());
  uploads_.with([&](Uploads&) {
    // A part sent again replaces itself; another overlap shows as a wrong total.
    std::uint64_t& end = upload->parts[range->begin];
    end = std::max(end, range->end);
  });
  return {204, {}, ""};
}

net::ServerResponse ActionsCache::commit(std::uint64_t id, const net::ServerRequest& request,
                                         const StopToken& stop) {
  const std::shared_ptr<Upload> upload = find(id);
  if (!upload) return refuse(404, "no such upload was begun");
  const Json body = Json::parse(request.body, nullptr, /*allow_exceptions=*/false);
  const auto size = body.is_object() ? body.find("size") : body.end();
  if (size == body.end() || !size->is_number_unsigned()) return refuse(400, "'size' is needed");
  const std::uint64_t wanted = size->get<std::uint64_t>();
  const std::optional<std::string> problem =
      uploads_.with([&](Uploads&) -> std::optional<std::string> {
        std::uint64_t reached = 0;
        for (const auto& [begin, end] : upload->parts) {
          if (begin != reached) return fmt::format("the bytes from {} on are missing", reached);
          reached = end;
        }
        if (reached != wanted)
          return fmt::format("{} bytes came, {} were announced", reached, wanted);
        upload->committing = true;
        return std::nullopt;
      });
  if (problem) return refuse(400, *problem);
  const Status stored = objects_.store_file(upload->key, upload->path, stop);
  if (!stored.ok()) {
    uploads_.with([&](Uploads&) { upload->committing = false; });
    ++objects_.counts().failed;
    return refuse(status_of(stored.error()), stored.error().to_string());
  }
  uploads_.with([id](Uploads& uploads) { uploads.erase(id); });
  return {201, {}, ""};
}

}  // namespace cirrus::agent
