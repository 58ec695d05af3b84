// SPDX-License-Identifier: MIT
#include "agent/http_cache/webdav.h"

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

/// Source: RFC 4918, section 14.16.
net::ServerResponse found(const std::string& path, std::string_view properties) {
  return {207,
          {{"Content-Type", "application/xml; charset=utf-8"}},
          fmt::format(R"(<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:"><D:response><D:href>{}</D:href><D:propstat><D:prop>{}</D:prop>)"
                      "<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
                      "</D:multistatus>\n",
                      href_of(path), properties)};
}

}  // namespace

bool is_webdav_method(const std::string& method) {
  return method == "PROPFIND" || method == "MKCOL";
}

net::ServerResponse answer_webdav(const std::string& method, const std::string& path,
                                  CacheObjects& objects, const StopToken& stop) {
  if (method == "MKCOL") return {201, {}, ""};
  if (path.empty() || path.back() == '/') {
    return found(path, "<D:resourcetype><D:collection/></D:resourcetype>");
  }
  const Result<std::optional<rpc::CacheFound>> known = objects.find(path, {}, stop);
  if (!known.ok() || !known.value()) return {404, {}, ""};
  return found(path, fmt::format("<D:resourcetype/><D:getcontentlength>{}</D:getcontentlength>",
                                 known.value()->bytes));
}

}  // namespace cirrus::agent
