// SPDX-License-Identifier: MIT
#include "controller/http/problem.h"

#include <nlohmann/json.hpp>

namespace cirrus::controller::http {

namespace {
const char* title_of(int status) {
  switch (status) {
    case 400: return "bad request";
    case 401: return "not authenticated";
    case 403: return "not allowed";
    case 404: return "not found";
    case 405: return "method not allowed";
    case 409: return "conflict";
    case 413: return "too large";
    case 422: return "the configuration is not valid";
    case 503: return "not available";
    default: return "failed";
  }
}
}  // namespace

int status_of(Code code) {
  switch (code) {
    case Code::Ok: return 200;
    case Code::InvalidArgument:
    case Code::OutOfRange: return 400;
    case Code::Unauthenticated: return 401;
    case Code::PermissionDenied: return 403;
    case Code::NotFound: return 404;
    case Code::AlreadyExists:
    case Code::Aborted:
    case Code::FailedPrecondition: return 409;
    case Code::ResourceExhausted: return 429;
    case Code::Unimplemented: return 501;
    case Code::Unavailable:
    case Code::Cancelled: return 503;
    case Code::DeadlineExceeded: return 504;
    case Code::Unknown:
    case Code::Internal:
    case Code::DataLoss: return 500;
  }
  return 500;
}

net::ServerResponse json_response(int status, std::string body) {
  return {status,
          {{"Content-Type", "application/json"},
           {"Cache-Control", "no-store"},
           {"X-Content-Type-Options", "nosniff"}},
          std::move(body)};
}

net::ServerResponse problem(int status, const std::string& detail, const std::string& rendered) {
  nlohmann::json body = {{"schema_version", 1},
                         {"type", "about:blank"},
                         {"title", title_of(status)},
                         {"status", status},
                         {"detail", detail}};
  if (!rendered.empty()) body["rendered"] = rendered;
  net::ServerResponse response = json_response(
      status, body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  response.headers[0].second = "application/problem+json";
  return response;
}

net::ServerResponse problem(const Error& failure) {
  return problem(status_of(failure.code()), failure.to_string());
}

}  // namespace cirrus::controller::http
