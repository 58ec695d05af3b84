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
