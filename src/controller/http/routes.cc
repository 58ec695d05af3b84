// SPDX-License-Identifier: MIT
#include "controller/http/routes.h"

#include "base/strings.h"

namespace cirrus::controller::http {

namespace {
using core::Role;

constexpr std::uint64_t kSmallBody = 64U << 10U;
constexpr std::uint64_t kBuildBody = 8U << 20U;

std::vector<std::string> parts_of(std::string_view pattern) {
  return split(pattern.substr(1), '/');
}

bool matches(const std::vector<std::string>& pattern, const std::vector<std::string>& parts) {
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i].ends_with("...}")) return parts.size() > i;
    if (i >= parts.size()) return false;
    if (pattern[i].starts_with('{') ? parts[i].empty() : pattern[i] != parts[i]) return false;
  }
  return pattern.size() == parts.size();
}
}  // namespace

const std::vector<Route>& routes() {
  static const std::vector<Route> table = {
      {"GET", "/", std::nullopt},
      {"GET", "/assets/{name}", std::nullopt},
      {"GET", "/healthz", std::nullopt},
      {"GET", "/readyz", Role::Reader},
      {"GET", "/metrics", Role::Reader},
      {"GET", "/api/v1/openapi.yaml", Role::Reader},
      {"GET", "/api/v1/builds", Role::Reader},
      {"POST", "/api/v1/builds", Role::Submitter, kBuildBody},
      {"GET", "/api/v1/builds/events", Role::Reader},
      {"GET", "/api/v1/builds/{id}", Role::Reader},
      {"GET", "/api/v1/builds/{id}/events", Role::Reader},
      {"POST", "/api/v1/builds/{id}/rerun", Role::Submitter, kSmallBody},
      {"POST", "/api/v1/builds/{id}/cancel", Role::Submitter, kSmallBody},
      {"GET", "/api/v1/tasks/{id}", Role::Reader},
      {"GET", "/api/v1/tasks/{id}/events", Role::Reader},
      {"GET", "/api/v1/tasks/{id}/why", Role::Reader},
      {"GET", "/api/v1/tasks/{id}/logs/{step}", Role::Reader},
      {"GET", "/api/v1/tasks/{id}/artifacts", Role::Reader},
      {"GET", "/api/v1/tasks/{id}/artifacts/{name}/{path...}", Role::Reader},
      {"GET", "/api/v1/tasks/{id}/annotations", Role::Reader},
      {"GET", "/api/v1/tasks/{id}/report", Role::Reader},
      {"POST", "/api/v1/tasks/{id}/cancel", Role::Submitter, kSmallBody},
      {"POST", "/api/v1/tasks/{id}/trigger", Role::Submitter, kSmallBody},
      {"POST", "/api/v1/tasks/{id}/rerun", Role::Submitter, kSmallBody},
      {"POST", "/api/v1/tasks/{id}/shell", Role::Operator, kSmallBody},
      {"GET", "/api/v1/tasks/{id}/shells", Role::Operator},
      {"GET", "/api/v1/tasks/{id}/shells/{number}", Role::Operator},
      {"GET", "/api/v1/shells/{id}/output", Role::Operator},
      {"POST", "/api/v1/shells/{id}/input", Role::Operator, kSmallBody},
      {"DELETE", "/api/v1/shells/{id}", Role::Operator, kSmallBody},
      {"GET", "/api/v1/caches/{owner}/{name}", Role::Reader},
      {"DELETE", "/api/v1/caches/{owner}/{name}", Role::Operator, kSmallBody},
      {"GET", "/api/v1/workers", Role::Reader},
      {"GET", "/api/v1/workers/events", Role::Reader},
      {"GET", "/api/v1/workers/{pool}/{name}", Role::Reader},
      {"POST", "/api/v1/workers/{pool}/{name}/cordon", Role::Operator, kSmallBody},
      {"POST", "/api/v1/workers/{pool}/{name}/uncordon", Role::Operator, kSmallBody},
      {"GET", "/api/v1/pools", Role::Reader},
      {"POST", "/api/v1/pools", Role::Admin, kSmallBody},
      {"GET", "/api/v1/pools/{pool}", Role::Reader},
      {"POST", "/api/v1/pools/{pool}", Role::Admin, kSmallBody},
      {"POST", "/api/v1/pools/{pool}/pause", Role::Operator, kSmallBody},
      {"POST", "/api/v1/pools/{pool}/resume", Role::Operator, kSmallBody},
      {"POST", "/api/v1/pools/{pool}/tokens", Role::Admin, kSmallBody},
      {"GET", "/api/v1/registration-tokens", Role::Reader},
      {"POST", "/api/v1/registration-tokens/{id}/revoke", Role::Admin, kSmallBody},
      // Who may do what, and who did what, is nothing for everybody.
      {"GET", "/api/v1/tokens", Role::Admin},
      {"POST", "/api/v1/tokens", Role::Admin, kSmallBody},
      {"POST", "/api/v1/tokens/{id}/revoke", Role::Admin, kSmallBody},
      {"GET", "/api/v1/whoami", Role::Reader},
      {"POST", "/api/v1/secrets", Role::Submitter, kSmallBody},
      {"GET", "/api/v1/audit", Role::Operator},
  };
  return table;
}

RouteMatch find_route(const std::string& method, const std::vector<std::string>& parts) {
  static const std::vector<std::vector<std::string>> patterns = [] {
    std::vector<std::vector<std::string>> all;
    for (const Route& route : routes()) all.push_back(parts_of(route.pattern));
    return all;
  }();
  RouteMatch match;
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    if (!matches(patterns[i], parts)) continue;
    const Route& route = routes()[i];
    if (route.method == method) {
      match.route = &route;
      return match;
    }
    if (!match.allow.empty()) match.allow += ", ";
    match.allow += route.method;
  }
  return match;
}

}  // namespace cirrus::controller::http
