// SPDX-License-Identifier: MIT
// What most routes need: who asks, and the plain answer.
#pragma once

#include <any>
#include <charconv>
#include <limits>
#include <map>
#include <memory>
#include <string>

#include "controller/core/calls.h"
#include "controller/http/admission.h"
#include "controller/http/problem.h"
#include "net/http_types.h"

namespace cirrus::controller::http {

/// Who asks, with what the token allows; nobody, who may do nothing, if nothing was admitted.
inline core::Actor actor_of(const net::ServerRequest& request) {
  const auto* const caller = std::any_cast<Caller>(&request.principal);
  core::Actor actor(caller == nullptr ? "nobody" : caller->identity.name);
  actor.token_id = caller == nullptr ? "" : caller->identity.token_id;
  actor.repositories =
      caller == nullptr ? std::vector<std::string>() : caller->identity.repositories;
  actor.trusted = caller != nullptr && caller->identity.trusted;
  actor.permission = !actor.trusted                               ? "none"
                     : caller->identity.role == core::Role::Admin ? "admin"
                                                                  : "write";
  return actor;
}

/// Before bytes that a task printed, which are never a page of ours.
inline net::ServerResponse bytes_of_a_task() {
  return {200,
          {{"Content-Type", "application/octet-stream"},
           {"X-Content-Type-Options", "nosniff"},
           {"Content-Security-Policy", "sandbox; default-src 'none'"},
           {"Cache-Control", "no-store"}},
          ""};
}

/// Answers 202 without a body, or the problem.
inline core::Reply<void> accepted(const std::shared_ptr<net::Responder>& answer) {
  return [answer](const Result<void>& result) {
    if (!result.ok()) return answer->respond(problem(result.error()));
    answer->respond(json_response(202, R"({"schema_version":1})"));
  };
}

constexpr std::int64_t kMostNumber = std::numeric_limits<std::int64_t>::max();

/// A whole number of the query. Errors: InvalidArgument, naming it and its range.
inline Result<std::int64_t> number_of(const std::map<std::string, std::string>& query,
                                      const std::string& name, std::int64_t fallback,
                                      std::int64_t least, std::int64_t most) {
  const auto found = query.find(name);
  if (found == query.end()) return fallback;
  std::int64_t value = 0;
  const char* const end = found->second.data() + found->second.size();
  const auto read = std::from_chars(found->second.data(), end, value);
  if (read.ec != std::errc() || read.ptr != end || value < least || value > most) {
    return error(Code::InvalidArgument, "'{}' must be a whole number from {} to {}", name, least,
                 most);
  }
  return value;
}

/// A text of the query; empty if it is absent.
inline std::string text_of_query(const net::ServerRequest& request, const std::string& name) {
  const auto found = request.query.find(name);
  return found == request.query.end() ? std::string() : found->second;
}

/// Where a client that lost an event stream was; empty: it starts.
inline std::string last_event_id(const net::ServerRequest& request) {
  return std::string(request.header("last-event-id"));
}

}  // namespace cirrus::controller::http
