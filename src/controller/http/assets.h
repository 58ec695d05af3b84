// SPDX-License-Identifier: MIT
// The page's files and the API's document, inside the program.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "net/http_types.h"

namespace cirrus::controller::http {

struct Asset {
  std::string_view content;
  const char* type;
};

/// `index.html`, a file of `/assets/`, or `openapi.yaml`; nullopt if there is none of that name.
std::optional<Asset> find_asset(std::string_view name);

/// The answer with everything a browser needs to know to run nothing but our own script: a strict
/// content security policy, no framing, no sniffing, no referrer. 304 if the client has it.
net::ServerResponse asset_response(const Asset& asset, const net::ServerRequest& request);

}  // namespace cirrus::controller::http
