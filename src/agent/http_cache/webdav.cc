// SPDX-License-Identifier: MIT
#include "agent/http_cache/webdav.h"

#include <cstdint>
#include <ctime>

#include <fmt/format.h>

#include "base/encoding.h"
#include "base/strings.h"

namespace cirrus::agent {
namespace {

/// A path as an address; nothing in it needs escaping in XML.
std::string href_of(const std::string& path) {
  std::vector<std::string> parts = split(path, '/');
  for (std::string& part : parts) part = percent_encode(part);
  return "/" + join(parts, "/");
}

/// Source: RFC 9110, section 5.6.7.
std::string http_date(std::int64_t unix_seconds) {
  const std::time_t seconds = unix_seconds;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[40] = {};
  (void)std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return text;
}

/// Source: RFC 4918, section 14.16. sccache takes no answer without a date.
net::ServerResponse found(const std::string& path, std::int64_t since,
                          std::string_view properties) {
  return {207,
          {{"Content-Type", "application/xml; charset=utf-8"}},
          fmt::format("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
                      "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>{}</D:href>"
                      "<D:propstat><D:prop><D:getlastmodified>{}</D:getlastmodified>{}</D:prop>"
                      "<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
                      "</D:multistatus>\n",
                      href_of(path), http_date(since), properties)};
}

}  // namespace

bool is_webdav_method(const std::string& method) {
  return method == "PROPFIND" || method == "MKCOL";
}

net::ServerResponse answer_webdav(const std::string& method, const std::string& path,
                                  CacheObjects& objects, const StopToken& stop) {
  if (method == "MKCOL") return {201, {}, ""};
  if (path.empty() || path.back() == '/') {
    return found(path, 0, "<D:resourcetype><D:collection/></D:resourcetype>");
  }
  const Result<std::optional<rpc::CacheFound>> known = objects.find(path, {}, stop);
  if (!known.ok() || !known.value()) return {404, {}, ""};
  return found(path, known.value()->created_unix_seconds,
               fmt::format("<D:resourcetype/><D:getcontentlength>{}</D:getcontentlength>",
                           known.value()->bytes));
}

}  // namespace cirrus::agent
