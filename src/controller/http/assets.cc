// SPDX-License-Identifier: MIT
#include "controller/http/assets.h"

#include "base/digest.h"

// Each file lies between two symbols in the read-only data.
#define CIRRUS_EMBED(symbol, file)                                                                 \
  __asm__(".section .rodata\n.balign 16\ncirrus_asset_" #symbol ":\n.incbin \"" file               \
          "\"\ncirrus_asset_" #symbol "_end:\n.byte 0\n.previous\n");                              \
  extern "C" const char cirrus_asset_##symbol[];       /* NOLINT(readability-identifier-naming) */ \
  extern "C" const char cirrus_asset_##symbol##_end[]; /* NOLINT(readability-identifier-naming) */

CIRRUS_EMBED(index, CIRRUS_WEB_DIR "/index.html")
CIRRUS_EMBED(style, CIRRUS_WEB_DIR "/style.css")
CIRRUS_EMBED(script, CIRRUS_WEB_DIR "/page.js")
CIRRUS_EMBED(ansi, CIRRUS_WEB_DIR "/ansi.js")
CIRRUS_EMBED(stream, CIRRUS_WEB_DIR "/stream.js")
CIRRUS_EMBED(icon, CIRRUS_WEB_DIR "/icon.svg")
CIRRUS_EMBED(openapi, CIRRUS_DOCS_DIR "/openapi.yaml")

namespace cirrus::controller::http {

namespace {
std::string_view between(const char* begin, const char* end) {
  return {begin, static_cast<std::size_t>(end - begin)};
}

constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}  // namespace

std::optional<Asset> find_asset(std::string_view name) {
#define CIRRUS_ASSET(symbol) between(cirrus_asset_##symbol, cirrus_asset_##symbol##_end)
  if (name == "index.html") return Asset{CIRRUS_ASSET(index), "text/html; charset=utf-8"};
  if (name == "style.css") return Asset{CIRRUS_ASSET(style), "text/css; charset=utf-8"};
  if (name == "page.js") return Asset{CIRRUS_ASSET(script), "text/javascript; charset=utf-8"};
  if (name == "ansi.js") return Asset{CIRRUS_ASSET(ansi), "text/javascript; charset=utf-8"};
  if (name == "stream.js") return Asset{CIRRUS_ASSET(stream), "text/javascript; charset=utf-8"};
  if (name == "icon.svg") return Asset{CIRRUS_ASSET(icon), "image/svg+xml"};
  if (name == "openapi.yaml") return Asset{CIRRUS_ASSET(openapi), "application/yaml"};
#undef CIRRUS_ASSET
  return std::nullopt;
}

net::ServerResponse asset_response(const Asset& asset, const net::ServerRequest& request) {
  const std::string tag = "\"" + sha256_hex(asset.content).substr(0, 20) + "\"";
  net::ServerResponse response{200,
                               {{"Content-Type", asset.type},
                                {"Cache-Control", "no-cache"},
                                {"ETag", tag},
                                {"Content-Security-Policy", kPolicy},
                                {"X-Content-Type-Options", "nosniff"},
                                {"X-Frame-Options", "DENY"},
                                {"Referrer-Policy", "no-referrer"},
                                {"Cross-Origin-Opener-Policy", "same-origin"},
                                {"Cross-Origin-Resource-Policy", "same-origin"},
                                {"Permissions-Policy", "camera=(), geolocation=(), microphone=()"}},
                               std::string(asset.content)};
  if (request.header("if-none-match") == tag) {
    response.status = 304;
    response.body.clear();
  }
  return response;
}

}  // namespace cirrus::controller::http
