// SPDX-License-Identifier: MIT
#include "controller/http/admission.h"

#include "base/strings.h"
#include "base/utf8.h"
#include "controller/http/problem.h"
#include "controller/http/routes.h"

namespace cirrus::controller::http {

namespace {
constexpr std::uint64_t kFetchBody = 64U << 20U;
constexpr std::uint64_t kPushBody = std::uint64_t{4} << 30U;

net::Admission refuse(net::ServerResponse response) {
  net::Admission admission;
  admission.refusal = std::move(response);
  return admission;
}

net::Admission unauthenticated(bool git) {
  net::ServerResponse response =
      problem(401, git ? "give an API token as the password"
                       : "give an API token as 'Authorization: Bearer TOKEN'");
  response.headers.emplace_back("WWW-Authenticate",
                                git ? "Basic realm=\"cirrus\"" : "Bearer realm=\"cirrus\"");
  return refuse(std::move(response));
}

/// For a token that is not valid, or that comes from where too many such came from.
net::Admission refused(const Error& why, bool git) {
  return why.code() == Code::Unauthenticated ? unauthenticated(git) : refuse(problem(why));
}

std::string bearer_token(const net::ServerRequest& head) {
  const std::string_view value = head.header("authorization");
  if (to_lower(value.substr(0, 7)) != "bearer ") return {};
  return std::string(trim(value.substr(7)));
}

std::string basic_password(const net::ServerRequest& head) {
  const std::string_view value = head.header("authorization");
  if (to_lower(value.substr(0, 6)) != "basic ") return {};
  const std::string pair = net::base64_decode(trim(value.substr(6))).value_or("");
  const std::size_t colon = pair.find(':');
  return colon == std::string::npos ? std::string() : pair.substr(colon + 1);
}

net::ServerResponse no_route(const RouteMatch& match) {
  if (match.allow.empty()) return problem(404, "no such route");
  net::ServerResponse response = problem(405, fmt::format("this route takes {} only", match.allow));
  response.headers.emplace_back("Allow", match.allow);
  return response;
}

bool is_push(const net::ServerRequest& head) {
  const auto service = head.query.find("service");
  return head.path.ends_with("/git-receive-pack") ||
         (service != head.query.end() && service->second == "git-receive-pack");
}

void admit_git(core::Core& core, const net::ServerRequest& head,
               const std::function<void(net::Admission)>& decided) {
  const std::string token = basic_password(head);
  if (token.empty()) return decided(unauthenticated(true));
  const bool push = is_push(head);
  const auto admit = [push, decided](Caller caller) {
    net::Admission admission;
    admission.body_limit = push ? kPushBody : kFetchBody;
    admission.spool = true;
    admission.principal = std::move(caller);
    decided(std::move(admission));
  };
  const bool posted = core.post([token, push, admit, decided, peer = head.peer](
                                    core::State& state, core::Moment moment) {
    if (state.is_clone_token(token)) {
      return state.clone_permit(token, [push, admit, decided](const Result<std::string>& found) {
        if (!found.ok()) return decided(unauthenticated(true));
        if (push) return decided(refuse(problem(403, "a task may not push")));
        admit(Caller{{}, true, found.value()});
      });
    }
    state.authorize(
        token, peer,
        [push, admit, decided](const Result<core::ApiIdentity>& identity) {
          if (!identity.ok()) return decided(refused(identity.error(), true));
          if (push && identity.value().role < core::Role::Submitter) {
            return decided(refuse(problem(403, "this token may not push")));
          }
          admit(Caller{identity.value(), false, ""});
        },
        moment);
  });
  if (!posted) decided(refuse(problem(503, "the controller is shutting down")));
}
}  // namespace

Result<std::vector<std::string>> split_path(const std::string& path) {
  std::vector<std::string> parts;
  if (path.empty() || path.front() != '/')
    return error(Code::InvalidArgument, "the path is not absolute");
  for (const std::string& part : split(std::string_view(path).substr(1), '/')) {
    parts.push_back(CIRRUS_TRY(net::percent_decode(part)));
    if (!is_utf8(parts.back())) {
      return error(Code::InvalidArgument, "the path is not UTF-8");
    }
  }
  return parts;
}

net::Admit make_admission(core::Core& core) {
  return
      [&core](const net::ServerRequest& head, const std::function<void(net::Admission)>& decided) {
        const Result<std::vector<std::string>> parts = split_path(head.path);
        if (!parts.ok()) return decided(refuse(problem(parts.error())));
        if (parts.value().front() == "git") return admit_git(core, head, decided);
        const RouteMatch match = find_route(head.method, parts.value());
        if (match.route != nullptr && !match.route->role) {
          net::Admission open;
          open.body_limit = match.route->body_limit;
          return decided(std::move(open));
        }
        const std::string token = bearer_token(head);
        if (token.empty()) return decided(unauthenticated(false));
        const bool posted = core.post([token, match, decided, peer = head.peer](
                                          core::State& state, core::Moment moment) {
          state.authorize(
              token, peer,
              [match, decided](const Result<core::ApiIdentity>& identity) {
                if (!identity.ok()) return decided(refused(identity.error(), false));
                if (match.route == nullptr) return decided(refuse(no_route(match)));
                if (identity.value().role < *match.route->role) {
                  return decided(
                      refuse(problem(403, fmt::format("this needs a token of role '{}' or higher",
                                                      core::to_string(*match.route->role)))));
                }
                net::Admission admission;
                admission.body_limit = match.route->body_limit;
                admission.principal = Caller{identity.value(), false, ""};
                decided(std::move(admission));
              },
              moment);
        });
        if (!posted) decided(refuse(problem(503, "the controller is shutting down")));
      };
}

}  // namespace cirrus::controller::http
