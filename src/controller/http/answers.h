// SPDX-License-Identifier: MIT
// What most routes need: who asks, and the plain answer.
#pragma once

#include <any>
#include <memory>

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
  return actor;
}

/// Answers 202 without a body, or the problem.
inline core::Reply<void> accepted(const std::shared_ptr<net::Responder>& answer) {
  return [answer](const Result<void>& result) {
    if (!result.ok()) return answer->respond(problem(result.error()));
    answer->respond(json_response(202, R"({"schema_version":1})"));
  };
}

}  // namespace cirrus::controller::http
