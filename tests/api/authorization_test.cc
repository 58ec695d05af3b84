// SPDX-License-Identifier: MIT
// Who may do what, and what bad input gets: tables over every route.
#include <set>

#include "controller/http/routes.h"
#include "controller_case.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;

/// A path of the route that names nothing that exists, so that no call changes anything.
std::string path_of(const http::Route& route) {
  std::string path = route.pattern;
  for (std::size_t at = path.find('{'); at != std::string::npos; at = path.find('{')) {
    const std::size_t end = path.find('}', at);
    const bool number = path.substr(at, end - at) == "{id";
    path.replace(at, end - at + 1, number ? "987654321" : "nothing");
  }
  return path;
}

std::vector<core::Role> all_roles() {
  return {core::Role::Reader, core::Role::Submitter, core::Role::Operator, core::Role::Admin};
}
const char* name_of(core::Role role) {
  static constexpr const char* kNames[] = {"reader", "submitter", "operator", "admin"};
  return kNames[static_cast<int>(role)];
}

/// Every refusal looks the same, whatever was asked.
void expect_problem(const net::HttpResponse& answer, long status) {
  EXPECT_EQ(answer.status, status) << answer.body;
  const auto type = answer.headers.find("content-type");
  EXPECT_TRUE(type != answer.headers.end() && type->second == "application/problem+json");
  const json body = json::parse(answer.body, nullptr, false);
  ASSERT_TRUE(body.is_object()) << answer.body;
  EXPECT_EQ(body.value("status", 0L), answer.status);
  EXPECT_FALSE(body.value("title", "").empty());
  EXPECT_FALSE(body.value("detail", "").empty());
}
}  // namespace

class Authorization : public ControllerCase {
 protected:
  std::size_t audit_entries() { return get("/api/v1/audit")["audit"].size(); }
};

// T13: every route, without, with a wrong, and with a token of every role.
TEST_F(Authorization, T13_EveryRouteTakesItsRoleAndNothingLess) {
  std::map<core::Role, std::string> tokens;
  for (const core::Role role : all_roles()) tokens[role] = token_of_role(name_of(role));
  const std::size_t before = audit_entries();
  for (const http::Route& route : http::routes()) {
    SCOPED_TRACE(std::string(route.method) + " " + route.pattern);
    const std::string path = path_of(route);
    if (!route.role) {
      EXPECT_NE(call(route.method, path, "", "-").status, 401);
      continue;
    }
    const net::HttpResponse anonymous = call(route.method, path, "", "-");
    expect_problem(anonymous, 401);
    EXPECT_EQ(anonymous.headers.count("www-authenticate"), 1U);
    const net::HttpResponse wrong = call(route.method, path, "", "0123456789abcdef");
    // Who tries many is sent away for a while; what is said has nothing to do with the route.
    expect_problem(wrong, wrong.status == 429 ? 429 : 401);
    if (wrong.status == 401) {
      EXPECT_EQ(wrong.body, anonymous.body) << "a wrong token is told nothing more";
    }
    // A worker's token is for another port.
    const std::string foreign = first_token(controller_->registration_token_file());
    const net::HttpResponse stranger = call(route.method, path, "", foreign);
    expect_problem(stranger, stranger.status == 429 ? 429 : 401);
    for (const core::Role role : all_roles()) {
      SCOPED_TRACE(name_of(role));
      if (role < *route.role) {
        expect_problem(call(route.method, path, "{}", tokens[role]), 403);
        continue;
      }
      // Creating things is left to other tests.
      if (std::string(route.pattern).find('{') == std::string::npos && *route.method != 'G') {
        continue;
      }
      const long status = call(route.method, path, "", tokens[role]).status;
      EXPECT_TRUE(status != 401 && status != 403) << status;
    }
  }
  // One entry says that somebody tries tokens.
  EXPECT_LE(audit_entries(), before + 1) << "what was refused or missed must not change anything";
}

// T13: a token that was good until a moment ago. (Few, or its address is sent away.)
TEST_F(Authorization, T13_ARevokedTokenIsWorthNothingOnAnyRoute) {
  const std::string revoked = token_of_role("admin");
  ASSERT_EQ(call("GET", "/api/v1/whoami", "", revoked).status, 200);
  const json whoami = json::parse(call("GET", "/api/v1/whoami", "", revoked).body);
  const std::string id = whoami["id"];
  ASSERT_EQ(call("POST", "/api/v1/tokens/" + id + "/revoke", "{}").status, 202);
  const std::string anonymous = call("GET", "/api/v1/builds", "", "-").body;
  for (const http::Route& route : http::routes()) {
    if (!route.role) continue;
    SCOPED_TRACE(std::string(route.method) + " " + route.pattern);
    const net::HttpResponse refused = call(route.method, path_of(route), "{}", revoked);
    expect_problem(refused, refused.status == 429 ? 429 : 401);
    if (refused.status == 401) {
      EXPECT_EQ(refused.body, anonymous) << "as if it had never been";
    }
  }
}

// T13: who may submit for one repository, on what is another's.
TEST_F(Authorization, T13_ATokenOfAnotherRepositoryChangesNothing) {
  const json made = json::parse(call("POST", "/api/v1/tokens",
                                     json{{"name", "other"},
                                          {"role", "submitter"},
                                          {"repositories", {"acme/other", "acmeapp/*"}}}
                                         .dump())
                                    .body);
  const std::string other = made["token"];
  const json owned =
      json::parse(call("POST", "/api/v1/builds",
                       json{{"repository", "acme/app"},
                            {"config",
                             "task:\n  name: a\n  persistent_worker: {}\n  x_script: y\n"
                             "task:\n  name: b\n  depends_on: a\n  trigger_type: manual\n"
                             "  persistent_worker: {}\n  x_script: y\n"}}
                           .dump())
                      .body)["build"];
  const std::string build = owned["id"];
  const json before = get("/api/v1/builds/" + build);
  const std::size_t audited = audit_entries();
  const std::string first = owned["tasks"][0]["id"];
  const std::string manual = owned["tasks"][1]["id"];
  const std::string secret = json{{"repository", "acme/app"}, {"value", "a good secret"}}.dump();
  const std::string copy = json{{"repository", "acme/app"}, {"config", ""}}.dump();
  // Every route a submitter may use to change something.
  const std::map<std::string, std::pair<std::string, std::string>> cases = {
      {"/api/v1/builds", {"/api/v1/builds", copy}},
      {"/api/v1/builds/{id}/rerun", {"/api/v1/builds/" + build + "/rerun", "{}"}},
      {"/api/v1/builds/{id}/cancel", {"/api/v1/builds/" + build + "/cancel", "{}"}},
      {"/api/v1/tasks/{id}/cancel", {"/api/v1/tasks/" + first + "/cancel", "{}"}},
      {"/api/v1/tasks/{id}/trigger", {"/api/v1/tasks/" + manual + "/trigger", "{}"}},
      {"/api/v1/tasks/{id}/rerun", {"/api/v1/tasks/" + first + "/rerun", "{}"}},
      {"/api/v1/secrets", {"/api/v1/secrets", secret}},
  };
  for (const http::Route& route : http::routes()) {
    if (route.role != core::Role::Submitter) continue;
    SCOPED_TRACE(route.pattern);
    ASSERT_TRUE(cases.contains(route.pattern)) << "a new route needs a row here";
    const auto& [path, body] = cases.at(route.pattern);
    const net::HttpResponse refused = call(route.method, path, body, other);
    expect_problem(refused, 403);
    EXPECT_NE(refused.body.find("acme/app"), std::string::npos) << "it says for what";
  }
  expect_problem(call("GET", "/api/v1/whoami?repository=acme/app", "", other), 403);
  EXPECT_EQ(get("/api/v1/builds/" + build), before);
  EXPECT_EQ(audit_entries(), audited);
}

// Names of one pool are nothing in another.
TEST_F(Authorization, AWorkerIsFoundInItsOwnPoolOnly) {
  ASSERT_EQ(call("POST", "/api/v1/pools", R"({"name":"macs"})").status, 202);
  ScriptedWorker w = worker("w1");
  ASSERT_TRUE(w.register_now().ok());
  ASSERT_EQ(call("GET", "/api/v1/workers/default/w1").status, 200);
  const std::size_t audited = audit_entries();
  expect_problem(call("GET", "/api/v1/workers/macs/w1"), 404);
  expect_problem(call("POST", "/api/v1/workers/macs/w1/cordon", "{}"), 404);
  expect_problem(call("POST", "/api/v1/workers/macs/w1/uncordon", "{}"), 404);
  EXPECT_EQ(get("/api/v1/workers/default/w1")["worker"]["disabled"], false);
  EXPECT_EQ(audit_entries(), audited);
  // A token of the other pool does not speak for it either.
  const json made = json::parse(call("POST", "/api/v1/pools/macs/tokens", "{}").body);
  ScriptedWorker stranger(controller_->rpc_endpoint(), made["token"], "w1");
  api::WorkerStatus now;
  EXPECT_EQ(stranger.update_status(true, now).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(get("/api/v1/workers/default/w1")["worker"]["disabled"], false);
}

TEST_F(Authorization, UnknownRoutesAndMethodsAreToldNothingWithoutAToken) {
  expect_problem(call("GET", "/api/v1/nothing", "", "-"), 401);
  expect_problem(call("GET", "/api/v1/nothing"), 404);
  expect_problem(call("GET", "/favicon.ico", "", "-"), 401);
  const net::HttpResponse wrong = call("PUT", "/api/v1/builds");
  expect_problem(wrong, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "GET, POST");
}

// T03: names that climb, lie or break, on every place of a path.
TEST_F(Authorization, T03_NamesOfPathsAreRefusedAndTouchNothing) {
  const std::size_t before = audit_entries();
  const std::vector<std::string> names = {"%2e%2e",
                                          "..%2f..%2fetc%2fpasswd",
                                          "%2e%2e%5c%2e%2e",
                                          "a%00b",
                                          "%c0%ae%c0%ae",
                                          "%ff%fe",
                                          "%ed%a0%80",
                                          "%EF%BC%8E%EF%BC%8E",
                                          "CON",
                                          "nul.txt",
                                          "a%0d%0ab",
                                          std::string(3000, 'a'),
                                          "%zz",
                                          "%2"};
  for (const http::Route& route : http::routes()) {
    if (!route.role || std::string(route.pattern).find('{') == std::string::npos) continue;
    for (const std::string& name : names) {
      SCOPED_TRACE(std::string(route.method) + " " + route.pattern + " " + name.substr(0, 40));
      std::string path = route.pattern;
      for (std::size_t at = path.find('{'); at != std::string::npos; at = path.find('{')) {
        path.replace(at, path.find('}', at) - at + 1, name);
      }
      const net::HttpResponse answer = call(route.method, path);
      // Removing a cache nobody has, of a repository with a harmless name, is success.
      if (answer.status == 200) {
        EXPECT_TRUE(std::string(route.pattern).starts_with("/api/v1/caches/")) << answer.body;
        continue;
      }
      EXPECT_TRUE(answer.status >= 400 && answer.status < 500) << answer.status;
      expect_problem(answer, answer.status);
      EXPECT_EQ(answer.body.find("root:"), std::string::npos);
    }
  }
  expect_problem(call("GET", "/api/v1/builds/" + std::string(20'000, 'a')), 431);
  EXPECT_EQ(audit_entries(), before);
  EXPECT_FALSE(std::filesystem::exists(directory_.path() / "etc"));
}

TEST_F(Authorization, BadBodiesAndQueriesAreProblemsAndChangeNothing) {
  const std::size_t before = audit_entries();
  const struct {
    const char* name;
    const char* method;
    std::string path;
    std::string body;
    long status;
  } cases[] = {
      {"no JSON", "POST", "/api/v1/builds", "{", 400},
      {"no object", "POST", "/api/v1/builds", "[1]", 400},
      {"unknown field", "POST", "/api/v1/builds", R"({"config":"","comit":"x"})", 400},
      {"wrong type", "POST", "/api/v1/builds", R"({"config":"","branch":7})", 400},
      {"repository that climbs", "POST", "/api/v1/builds", R"({"config":"","repository":"../x"})",
       400},
      {"branch that is none", "POST", "/api/v1/builds", R"({"config":"","branch":"a\nb"})", 400},
      {"commit that is none", "POST", "/api/v1/builds", R"({"repository":"a/b","commit":"HEAD"})",
       400},
      {"body over the limit", "POST", "/api/v1/builds", std::string(9U << 20U, ' '), 413},
      {"body over the small limit", "POST", "/api/v1/tokens", std::string(70'000, ' '), 413},
      {"no page size", "GET", "/api/v1/builds?limit=0", "", 400},
      {"huge page", "GET", "/api/v1/builds?limit=100000000", "", 400},
      {"page of words", "GET", "/api/v1/builds?before=yesterday", "", 400},
      {"huge page of workers", "GET", "/api/v1/workers?limit=999999", "", 400},
      {"huge page of the audit", "GET", "/api/v1/audit?limit=1001", "", 400},
      {"a page before nothing", "GET", "/api/v1/builds?before=99999999999999999999999", "", 400},
      {"a log before its beginning", "GET", "/api/v1/tasks/1/logs/x?offset=-1", "", 400},
      {"a pool that keeps its name", "POST", "/api/v1/pools/default", R"({"name":"x"})", 400},
      {"a time of ten thousand years", "POST", "/api/v1/pools/default",
       R"({"lost_after_seconds":315360000000})", 400},
      {"nothing to encrypt", "POST", "/api/v1/secrets", R"({"repository":"a/b"})", 400},
      {"short secret", "POST", "/api/v1/secrets", R"({"repository":"a/b","value":"abc"})", 400},
      {"long secret", "POST", "/api/v1/secrets",
       json{{"repository", "a/b"}, {"value", std::string(33'000, 'x')}}.dump(), 400},
      {"secret of no repository", "POST", "/api/v1/secrets", R"({"value":"abcdef"})", 400},
      {"secret with an unknown field", "POST", "/api/v1/secrets",
       R"({"repository":"a/b","value":"abcdef","foo":1})", 400},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    expect_problem(call(c.method, c.path, c.body), c.status);
  }
  EXPECT_EQ(audit_entries(), before);
  EXPECT_TRUE(get("/api/v1/builds")["builds"].empty());
}

TEST_F(Authorization, PagesOfBuildsAndWorkersAreWalkedToTheEnd) {
  for (int i = 0; i < 7; ++i) submit("task:\n  persistent_worker: {}\n  x_script: y\n");
  std::vector<std::string> ids;
  for (json next = ""; !next.is_null();) {
    const std::string before = next.get<std::string>();
    const json page = get("/api/v1/builds?limit=3" + (before.empty() ? "" : "&before=" + before));
    for (const json& build : page["builds"]) ids.push_back(build["id"]);
    next = page["next_before"];
  }
  EXPECT_EQ(ids.size(), 7U);
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 7U);
  for (const char* name : {"a", "b", "c"}) {
    ScriptedWorker w = worker(name);
    ASSERT_TRUE(w.register_now().ok());
  }
  std::vector<std::string> names;
  for (json next = ""; !next.is_null();) {
    const std::string after = next.get<std::string>();
    const json page = get("/api/v1/workers?limit=2" + (after.empty() ? "" : "&after=" + after));
    for (const json& each : page["workers"]) names.push_back(each["name"]);
    next = page["next_after"];
  }
  EXPECT_EQ(names, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(get("/api/v1/workers?pool=other")["workers"].empty());
}

}  // namespace cirrus::controller
