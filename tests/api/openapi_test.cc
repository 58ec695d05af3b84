// SPDX-License-Identifier: MIT
// `docs/openapi.yaml` against the running server: what it lists is served as it says, and nothing
// is served that it does not list.
#include <set>

#include "base/clock.h"
#include "controller/http/routes.h"
#include "controller_case.h"
#include "shell_worker.h"
#include "yaml/tree.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;

json json_of(const yaml::Node& written) {
  const yaml::Node& node = written.resolved();
  if (node.is_map()) {
    json object = json::object();
    for (const yaml::Entry& entry : node.entries) object[entry.key->text] = json_of(*entry.value);
    return object;
  }
  if (node.is_list()) {
    json list = json::array();
    for (const yaml::Node* item : node.items) list.push_back(json_of(*item));
    return list;
  }
  switch (yaml::scalar_type(node)) {
    case yaml::ScalarType::Null: return nullptr;
    case yaml::ScalarType::Bool: return node.text == "true";
    case yaml::ScalarType::Integer: return std::stoll(node.text);
    default: return node.text;
  }
}

const json& document() {
  static const json read = [] {
    const std::string text =
        os::read_file(std::filesystem::path(CIRRUS_SOURCE_DIR) / "docs/openapi.yaml").value();
    const auto tree = yaml::parse(text, {});
    EXPECT_TRUE(tree.ok()) << tree.error().to_string();
    return json_of(*tree.value().root());
  }();
  return read;
}

const json& deref(const json& node) {
  if (!node.is_object() || !node.contains("$ref")) return node;
  return document().at(json::json_pointer(node["$ref"].get<std::string>().substr(1)));
}

/// What is wrong with `value` by `schema`; empty: nothing. The subset of JSON Schema we write.
std::string schema_fault(const json& written, const json& value, const std::string& where) {
  const json& schema = deref(written);
  if (value.is_null()) return schema.value("nullable", false) ? "" : where + " is null";
  const std::string type = schema.value("type", "");
  const bool fits = type == "object"    ? value.is_object()
                    : type == "array"   ? value.is_array()
                    : type == "string"  ? value.is_string()
                    : type == "integer" ? value.is_number_integer()
                    : type == "number"  ? value.is_number()
                    : type == "boolean" ? value.is_boolean()
                                        : true;
  if (!fits) return where + " is no " + type + ": " + value.dump();
  if (schema.contains("enum")) {
    bool listed = false;
    for (const json& allowed : schema["enum"]) listed = listed || allowed == value;
    if (!listed) return where + " is not one of the listed: " + value.dump();
  }
  if (value.is_array() && schema.contains("items")) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      const std::string wrong =
          schema_fault(schema["items"], value[i], where + "[" + std::to_string(i) + "]");
      if (!wrong.empty()) return wrong;
    }
  }
  if (!value.is_object()) return "";
  const json known = schema.value("properties", json::object());
  for (const json& name : schema.value("required", json::array())) {
    if (!value.contains(name.get<std::string>())) return where + " lacks " + name.dump();
  }
  const json rest = schema.value("additionalProperties", json(true));
  for (const auto& [name, field] : value.items()) {
    std::string wrong;
    if (known.contains(name)) {
      wrong = schema_fault(known[name], field, where + "." + name);
    } else if (rest.is_object()) {
      wrong = schema_fault(rest, field, where + "." + name);
    } else if (rest == json(false)) {
      wrong = where + "." + name + " is not documented";
    }
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string role_text(const http::Route& route) {
  if (!route.role) return "none";
  switch (*route.role) {
    case core::Role::Reader: return "reader";
    case core::Role::Submitter: return "submitter";
    case core::Role::Operator: return "operator";
    case core::Role::Admin: return "admin";
  }
  return "";
}
}  // namespace

class OpenApi : public ControllerCase {
 protected:
  /// Checks status, content type and body of an answer against what is documented.
  static void expect_documented(const json& operation, const net::HttpResponse& answer) {
    const json& responses = operation["responses"];
    const std::string status = std::to_string(answer.status);
    // What any route may answer stands under `default`.
    static const std::set<long> everywhere = {400, 401, 403, 405, 413, 429, 431, 503};
    const bool listed = responses.contains(status);
    ASSERT_TRUE(listed || everywhere.contains(answer.status))
        << status << " is not documented: " << answer.body;
    const json& response = deref(responses[listed ? status : "default"]);
    if (!response.contains("content")) return;
    const auto found = answer.headers.find("content-type");
    const std::string whole = found == answer.headers.end() ? "" : found->second;
    const std::string type = whole.substr(0, whole.find(';'));
    ASSERT_TRUE(response["content"].contains(type)) << type << " is not documented";
    const json& media = response["content"][type];
    if (!media.is_object() || !media.contains("schema")) return;
    const json body = json::parse(answer.body, nullptr, false);
    ASSERT_FALSE(body.is_discarded()) << answer.body;
    EXPECT_EQ(schema_fault(media["schema"], body, "body"), "") << answer.body;
  }
  static std::string filled(std::string path, const std::map<std::string, std::string>& values) {
    for (const auto& [name, value] : values) {
      const std::size_t at = path.find("{" + name + "}");
      if (at != std::string::npos) path.replace(at, name.size() + 2, value);
    }
    return path;
  }
};

TEST_F(OpenApi, ListsExactlyTheRoutesThatAreServedWithTheirRoles) {
  std::map<std::string, std::string> documented;
  for (const auto& [path, item] : document()["paths"].items()) {
    for (const auto& [method, operation] : item.items()) {
      if (method == "parameters") continue;
      std::string upper = method;
      for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      documented[upper + " " + path] = operation.value("x-role", "");
    }
  }
  std::map<std::string, std::string> served;
  for (const http::Route& route : http::routes()) {
    served[std::string(route.method) + " " + route.pattern] = role_text(route);
  }
  EXPECT_EQ(documented, served);
}

TEST_F(OpenApi, EveryRouteRefusesAsDocumented) {
  const std::string reader = token_of_role("reader");
  const json before = get("/api/v1/audit")["audit"];
  const std::map<std::string, std::string> nobody = {
      {"pool", "nowhere"}, {"name", "nobody"}, {"step", "none"}, {"path...", "a"},
      {"id", "987654321"}, {"owner", "no"},    {"number", "1"}};
  for (const http::Route& route : http::routes()) {
    SCOPED_TRACE(std::string(route.method) + " " + route.pattern);
    std::string method = route.method;
    for (char& c : method) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const json& operation = document()["paths"][route.pattern][method];
    ASSERT_EQ(operation["responses"]["default"]["$ref"], "#/components/responses/Problem");
    if (!route.role) continue;
    const std::string path = filled(route.pattern, nobody);
    const auto refused = [&](long status, const std::string& body, const std::string& token) {
      const net::HttpResponse answer = call(route.method, path, body, token);
      EXPECT_EQ(answer.status, status) << answer.body;
      expect_documented(operation, answer);
    };
    refused(401, "", "-");
    if (*route.role > core::Role::Reader) refused(403, "", reader);
    if (std::string(route.method) == "GET") continue;
    refused(413, std::string(route.body_limit + 1, ' '), "");
    const json content = operation.value("requestBody", json::object()).value("content", json());
    if (!content.contains("application/json")) continue;
    const json& media = content["application/json"];
    EXPECT_EQ(deref(media["schema"]).value("additionalProperties", json()), json(false));
    json unknown = media.value("example", json::object());
    unknown["no_such_field"] = 1;
    for (const std::string& body :
         {unknown.dump(), std::string("{"), std::string("[1]"), std::string("\"text\""),
          std::string("{\"name\":\"\xff\xfe\"}"), std::string(30'000, '[')}) {
      SCOPED_TRACE(body.substr(0, 60));
      // Of what is not there at all, that comes first.
      const net::HttpResponse answer = call(route.method, path, body);
      EXPECT_TRUE(answer.status == 400 || answer.status == 404) << answer.status << answer.body;
      expect_documented(operation, answer);
      EXPECT_LT(answer.body.size(), 1000U);
    }
  }
  EXPECT_EQ(get("/api/v1/audit")["audit"], before) << "nothing was changed";
}

TEST_F(OpenApi, EveryRouteAnswersAsDocumented) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  const json build = submit(
      "task:\n  name: first\n  persistent_worker: {}\n  main_script: echo\n"
      "task:\n  name: later\n  depends_on: first\n  trigger_type: manual\n  persistent_worker: {}\n"
      "  main_script: echo\n");
  const json spare =
      submit("task:\n  persistent_worker: {labels: {os: plan9}}\n  main_script: x\n");
  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  ASSERT_EQ(response.tasks_to_start_size(), 1);
  const auto task = response.tasks_to_start(0);
  w.running = {task.task_id()};
  ASSERT_TRUE(w.started(task).ok());
  ScriptedAgent a = agent(task);
  ASSERT_TRUE(a.stream("main", {"hello\n"}).ok());
  const std::string finished_first = task.task_id();
  ASSERT_TRUE(a.finished({{"main", api::COMPLETED}}).ok());
  ASSERT_TRUE(w.stopped(task).ok());
  const json token = json::parse(call("POST", "/api/v1/pools/default/tokens", "{}").body);

  const json page = json::parse(
      call("POST", "/api/v1/tokens", json{{"name", "spare"}, {"role", "reader"}}.dump()).body);

  // What stands in the paths, so that the first answer is the one for success.
  const std::map<std::string, std::map<std::string, std::string>> examples = {
      {"/assets/{name}", {{"name", "style.css"}}},
      {"/api/v1/registration-tokens/{id}/revoke", {{"id", token["id"]}}},
      {"/api/v1/tokens/{id}/revoke", {{"id", page["id"]}}},
      {"/api/v1/builds/{id}/cancel", {{"id", spare["id"]}}},
      {"/api/v1/builds/{id}/rerun", {{"id", spare["id"]}}},
      {"/api/v1/tasks/{id}/cancel", {{"id", build["tasks"][1]["id"]}}},
      {"/api/v1/tasks/{id}/trigger", {{"id", build["tasks"][1]["id"]}}},
      {"/api/v1/tasks/{id}/why", {{"id", spare["tasks"][0]["id"]}}},
      {"/api/v1/caches/{owner}/{name}", {{"owner", "local"}, {"name", "inline?key=x"}}},
  };
  // What changes things others look at comes last.
  std::vector<std::pair<std::string, std::string>> order;
  for (const int round : {0, 1, 2, 3}) {
    for (const auto& [path, item] : document()["paths"].items()) {
      for (const auto& [method, operation] : item.items()) {
        if (method == "parameters") continue;
        const bool ends = path.ends_with("/cancel") || path.ends_with("/revoke");
        const bool again = path == "/api/v1/builds/{id}/rerun";
        if ((method == "get" ? 0 : again ? 3 : ends ? 2 : 1) == round) {
          order.emplace_back(path, method);
        }
      }
    }
  }
  for (const auto& [path, method] : order) {
    // Shells need a worker that has them: the test below.
    if (path.find("/shell") != std::string::npos) continue;
    SCOPED_TRACE(method + " " + path);
    const json& operation = document()["paths"][path][method];
    std::map<std::string, std::string> values = {
        {"pool", "default"},
        {"name", "w1"},
        {"step", "main"},
        {"path...", "a/b"},
        {"id", path.find("/tasks/") != std::string::npos ? finished_first
                                                         : build["id"].get<std::string>()}};
    const auto special = examples.find(path);
    if (special != examples.end()) {
      for (const auto& [name, value] : special->second) values[name] = value;
    }
    std::string body;
    if (operation.contains("requestBody")) {
      body = operation["requestBody"]["content"]["application/json"]["example"].dump();
    }
    std::string upper = method;
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    const net::HttpResponse answer = call(upper, filled(path, values), body);
    expect_documented(operation, answer);
    // Only a file that no test stored may be missing.
    if (path.find("{path...}") == std::string::npos) {
      EXPECT_LT(answer.status, 300) << answer.body;
    }

    if (path.find('{') == std::string::npos || path == "/assets/{name}") continue;
    const std::map<std::string, std::string> nobody = {{"pool", "nowhere"}, {"name", "no%20body"},
                                                       {"step", "none"},    {"path...", "a"},
                                                       {"id", "987654321"}, {"owner", "no"}};
    const net::HttpResponse missing = call(upper, filled(path, nobody), body);
    expect_documented(operation, missing);
  }
}

TEST_F(OpenApi, ShellsAnswerAsDocumented) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit("task:\n  persistent_worker: {}\n  main_script: echo\n");
  ASSERT_EQ(call("POST", "/api/v1/pools/default", R"({"record_shells":true})").status, 202);
  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  ASSERT_EQ(response.tasks_to_start_size(), 1);
  const auto task = response.tasks_to_start(0);
  ASSERT_TRUE(w.started(task).ok());

  const ShellWorker shells(controller_->rpc_endpoint(),
                           first_token(controller_->registration_token_file()), w);

  const auto operation = [](const std::string& path, const char* method) -> const json& {
    return document()["paths"][path][method];
  };
  const std::string order = "/api/v1/tasks/" + task.task_id() + "/shell";
  const auto open = [&] {
    net::HttpResponse opened = call("POST", order, R"({"columns":80,"rows":24})");
    const Monotonic deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (opened.status == 409 && std::chrono::steady_clock::now() < deadline) {
      expect_documented(operation("/api/v1/tasks/{id}/shell", "post"), opened);
      (void)wait_for({}, std::chrono::milliseconds(10));
      opened = call("POST", order, R"({"columns":80,"rows":24})");
    }
    EXPECT_EQ(opened.status, 201) << opened.body;
    expect_documented(operation("/api/v1/tasks/{id}/shell", "post"), opened);
    return "/api/v1/shells/" + json::parse(opened.body).value("id", "");
  };
  const std::string first = open();
  const net::HttpResponse typed =
      call("POST", first + "/input", cirrus::rpc::input_frame("date\n"));
  EXPECT_EQ(typed.status, 204) << typed.body;
  const net::HttpResponse shown = call("GET", first + "/output");
  EXPECT_TRUE(shown.body.ends_with("\r\nhello")) << shown.body;
  expect_documented(operation("/api/v1/shells/{id}/output", "get"), shown);
  const std::string records = "/api/v1/tasks/" + task.task_id() + "/shells";
  const net::HttpResponse listed = call("GET", records);
  EXPECT_EQ(json::parse(listed.body)["shells"].size(), 1U) << listed.body;
  expect_documented(operation("/api/v1/tasks/{id}/shells", "get"), listed);
  for (const auto& [number, status] : std::map<std::string, long>{{"1", 200}, {"2", 404}}) {
    const net::HttpResponse kept = call("GET", records + "/" + number);
    EXPECT_EQ(kept.status, status) << kept.body;
    expect_documented(operation("/api/v1/tasks/{id}/shells/{number}", "get"), kept);
  }
  EXPECT_EQ(call("DELETE", open()).status, 204);

  // Nobody else's shell, and none in a task that is not there.
  const std::string second = open();
  const std::string other = token_of_role("operator");
  for (const auto& [path, method] :
       std::map<std::string, const char*>{{"/output", "get"}, {"/input", "post"}, {"", "delete"}}) {
    SCOPED_TRACE(path);
    const std::string upper = method == std::string("get")    ? "GET"
                              : method == std::string("post") ? "POST"
                                                              : "DELETE";
    const net::HttpResponse refused =
        call(upper, second + path, path == "/input" ? "x" : "", other);
    EXPECT_EQ(refused.status, 404);
    expect_documented(operation("/api/v1/shells/{id}" + path, method), refused);
  }
  expect_documented(operation("/api/v1/tasks/{id}/shell", "post"),
                    call("POST", "/api/v1/tasks/987654321/shell", "{}"));
  EXPECT_EQ(call("DELETE", second).status, 204);
}

}  // namespace cirrus::controller
