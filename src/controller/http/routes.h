// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "controller/core/calls.h"

namespace cirrus::controller::http {

/// One route as it is documented in `docs/openapi.yaml`.
struct Route {
  const char* method;
  /// `{x}` stands for one component of the path, a last `{x...}` for one or more.
  const char* pattern;
  std::optional<core::Role> role;  ///< the least that may call it; nullopt: no token needed
  std::uint64_t body_limit = 0;    ///< bytes
};

/// Every route that is served below `/`, except git's protocol. What is not in this table is
/// answered 404 before anybody looks at it, so the table cannot be incomplete; a test compares it
/// with the document.
const std::vector<Route>& routes();

/// What the table says about a request. Pure; cost: one pass over the table.
struct RouteMatch {
  const Route* route = nullptr;  ///< null: no such route
  std::string allow;             ///< with no route: methods this path would take; may be empty
};
RouteMatch find_route(const std::string& method, const std::vector<std::string>& parts);

}  // namespace cirrus::controller::http
