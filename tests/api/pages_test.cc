// SPDX-License-Identifier: MIT
// Lists that come in pages: what is there all along is on them once, whatever comes and goes.
#include <functional>
#include <set>
#include <thread>

#include "controller_case.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;
using Words = std::vector<std::string>;

/// A list of the API, and how its entries are named here.
struct List {
  std::string route;
  const char* field;
  std::function<Words(const json& entry)> words;
};

List list_of(const std::string& route, const char* field, const char* name) {
  return {route, field, [name](const json& entry) { return Words{entry.at(name)}; }};
}

/// `out:a/b` for each file; `out:` for an artifact without any.
List artifacts_of(const std::string& task) {
  return {"/api/v1/tasks/" + task + "/artifacts", "artifacts", [](const json& artifact) {
            const std::string name = artifact.at("name");
            Words words;
            for (const json& file : artifact.at("files")) {
              words.push_back(name + ":" + file.at("path").get<std::string>());
            }
            return words.empty() ? Words{name + ":"} : words;
          }};
}
}  // namespace

class Pages : public ControllerCase {
 protected:
  json page(const List& list, std::size_t limit, const json& after) {
    const std::string place = after.is_null() ? "" : "&after=" + after.get<std::string>();
    return get(list.route + "?limit=" + std::to_string(limit) + place);
  }
  static Words words(const List& list, const json& page) {
    Words all;
    for (const json& entry : page.at(list.field)) {
      for (std::string& word : list.words(entry)) all.push_back(std::move(word));
    }
    return all;
  }
  /// All of a list. `between` runs once, after the first page.
  Words walk(const List& list, std::size_t limit, const std::function<void()>& between = {}) {
    Words all;
    json after;
    int pages = 0;
    do {
      const json one = page(list, limit, after);
      const Words found = words(list, one);
      EXPECT_LE(found.size(), limit);
      all.insert(all.end(), found.begin(), found.end());
      after = one.at("next_after");
      if (++pages == 1 && between) between();
    } while (!after.is_null() && pages < 100);
    EXPECT_TRUE(after.is_null()) << "the pages have no end";
    return all;
  }
  void expect_whole_at_any_size(const List& list, const Words& expected) {
    SCOPED_TRACE(list.route);
    EXPECT_TRUE(get(list.route).at("next_after").is_null());
    for (std::size_t size = 1; size <= expected.size() + 1; ++size) {
      SCOPED_TRACE(size);
      EXPECT_EQ(walk(list, size), expected);
    }
    // The last page is known to be the last, also when it is full.
    EXPECT_TRUE(page(list, expected.size(), nullptr).at("next_after").is_null());
  }
  void expect_refused(const List& list, Words bad) {
    for (const char* limit : {"limit=0", "limit=5001", "limit=-1", "limit=x", "limit="}) {
      bad.emplace_back(limit);
    }
    for (const std::string& query : bad) {
      SCOPED_TRACE(list.route + "?" + query);
      const net::HttpResponse answer = call("GET", list.route + "?" + query);
      EXPECT_EQ(answer.status, 400) << answer.body;
      EXPECT_EQ(answer.headers.at("content-type"), "application/problem+json");
      EXPECT_NE(answer.body.find(query.substr(0, query.find('='))), std::string::npos)
          << "it says what is wrong: " << answer.body;
    }
  }
  void make_pool(const std::string& name) {
    ASSERT_EQ(call("POST", "/api/v1/pools", json{{"name", name}}.dump()).status, 202);
  }
  json make_token(const std::string& name) {
    return json::parse(
        call("POST", "/api/v1/tokens", json{{"name", name}, {"role", "reader"}}.dump()).body);
  }
  ScriptedAgent running_task() {
    submit("task:\n  persistent_worker: {}\n  one_script: true\n");
    ScriptedWorker w = worker();
    EXPECT_TRUE(w.register_now().ok());
    const auto task = take_one(w);
    task_ = task.task_id();
    return agent(task);
  }

  const List pools_ = list_of("/api/v1/pools", "pools", "name");
  const List tokens_ = list_of("/api/v1/tokens", "tokens", "name");
  std::string task_;
};

TEST_F(Pages, OfPoolsAreInTheOrderOfTheirNames) {
  for (const char* name : {"macs", "arm-boards", "zoo", "e"}) make_pool(name);
  expect_whole_at_any_size(pools_, {"arm-boards", "default", "e", "macs", "zoo"});
  expect_refused(pools_, {});
  // Pools stay; new ones are shown if they are behind what was.
  EXPECT_EQ(walk(pools_, 2,
                 [this] {
                   make_pool("a");
                   make_pool("f");
                 }),
            (Words{"arm-boards", "default", "e", "f", "macs", "zoo"}));
  EXPECT_TRUE(words(pools_, page(pools_, 2, "zoo")).empty());
  EXPECT_EQ(get("/api/v1/pools/e")["pool"]["name"], "e");
}

TEST_F(Pages, OfTokensBeginWithTheOldest) {
  std::vector<std::string> made = walk(tokens_, 5000);
  std::string second;
  for (int i = 0; i < 5; ++i) {
    const std::string name = "t" + std::to_string(i);
    const std::string id = make_token(name)["id"];
    if (i == 1) second = id;
    made.push_back(name);
  }
  // Those of one millisecond stand in the order of their ids.
  const Words order = walk(tokens_, 5000);
  EXPECT_EQ(std::set<std::string>(order.begin(), order.end()),
            std::set<std::string>(made.begin(), made.end()));
  expect_whole_at_any_size(tokens_, order);
  expect_refused(tokens_, {"after=x", "after=1", "after=1-", "after=-", "after=-a",
                           "after=99999999999999999999-a"});
  Words seen = walk(tokens_, 2, [&] {
    ASSERT_EQ(call("POST", "/api/v1/tokens/" + second + "/revoke", "{}").status, 202);
    make_token("later");
  });
  std::erase(seen, "later");
  EXPECT_EQ(seen, order) << "a revoked token stays in the list";
}

TEST_F(Pages, OfRegistrationTokensAreOfOnePoolOrOfAll) {
  make_pool("macs");
  const auto make = [this](const std::string& pool, const char* body) {
    return json::parse(call("POST", "/api/v1/pools/" + pool + "/tokens", body).body);
  };
  for (int i = 0; i < 3; ++i) make("macs", "{}");
  const std::string elsewhere = make("default", "{}")["id"];
  const std::string route = "/api/v1/registration-tokens";
  const List all = list_of(route, "tokens", "id");
  const Words order = walk(all, 5000);
  EXPECT_EQ(order.size(), 5U) << "and the one of the start";
  expect_whole_at_any_size(all, order);
  expect_refused(all, {"after=x", "after=1-", "after=99999999999999999999-a"});
  EXPECT_EQ(call("GET", route + "?pool=none").status, 404);
  json mine = get(route + "?pool=macs&limit=2");
  Words found = words(all, mine);
  ASSERT_EQ(found.size(), 2U);
  const std::string place = mine["next_after"];
  std::this_thread::sleep_for(std::chrono::milliseconds(2));  // Those of one stand as their ids do.
  make("macs", R"({"overlap_seconds": 60, "note": "spring"})");
  ASSERT_EQ(call("POST", route + "/" + found[0] + "/revoke", "{}").status, 202);
  mine = get(route + "?pool=macs&limit=2&after=" + place);
  ASSERT_EQ(mine["tokens"].size(), 2U);
  EXPECT_TRUE(mine["next_after"].is_null());
  EXPECT_FALSE(mine["tokens"][0]["expires_at"].is_null());
  EXPECT_EQ(mine["tokens"][1]["note"], "spring");
  EXPECT_EQ(mine["tokens"][1]["pool"], "macs");
  for (const std::string& id : words(all, mine)) EXPECT_NE(id, elsewhere);
  EXPECT_EQ(words(all, get(route + "?pool=macs&limit=1"))[0], found[0]) << "revoked ones stay";
}

TEST_F(Pages, OfArtifactsAreOfFilesAndAnArtifactGoesOn) {
  ScriptedAgent writer = running_task();
  const List list = artifacts_of(task_);
  EXPECT_EQ(walk(list, 3), Words());
  ASSERT_TRUE(writer.upload_artifacts("out", {{"b", "1"}, {"a", "22"}, {"d/c", "3"}}).ok());
  ASSERT_TRUE(writer.upload_artifacts("none", {}).ok());
  ASSERT_TRUE(writer.upload_artifacts("report", {{"x.xml", "<x/>"}}).ok());
  expect_whole_at_any_size(list, {"none:", "out:a", "out:b", "out:d/c", "report:x.xml"});
  expect_refused(list, {"after=x", "after=6f", "after=-61", "after=6f-6", "after=zz-61"});
  const json second = page(list, 2, page(list, 2, nullptr).at("next_after"));
  EXPECT_EQ(second["artifacts"][0]["name"], "out");
  EXPECT_EQ(second["artifacts"][0]["type"], "text/plain");
  EXPECT_EQ(second["artifacts"][0]["files"][0], (json{{"path", "b"}, {"size", 1}}));

  EXPECT_EQ(walk(list, 2,
                 [&] {
                   EXPECT_TRUE(writer.upload_artifacts("a", {{"new", "x"}}).ok());
                   EXPECT_TRUE(writer.upload_artifacts("p", {{"new", "x"}}).ok());
                   EXPECT_TRUE(writer.upload_artifacts("report", {{"y.xml", "<x/>"}}).ok());
                 }),
            (Words{"none:", "out:a", "out:b", "out:d/c", "p:new", "report:y.xml"}));
}

TEST_F(Pages, OfArtifactsHoldNamesOfAnyBytes) {
  ScriptedAgent writer = running_task();
  const std::string long_name(1000, '\x01');
  ASSERT_TRUE(writer.upload_artifacts(long_name, {{"a", "1"}, {"b&after=#", "2"}}).ok());
  ASSERT_TRUE(writer.upload_artifacts("\xc3\xbc ?", {{std::string(250, '%'), "3"}}).ok());
  EXPECT_EQ(walk(artifacts_of(task_), 1), (Words{long_name + ":a", long_name + ":b&after=#",
                                                 "\xc3\xbc ?:" + std::string(250, '%')}));
}

TEST_F(Pages, OfFindingsAreInTheOrderTheyCame) {
  ScriptedAgent writer = running_task();
  const auto report = [&](const Words& messages) {
    grpc::ClientContext context;
    writer.identify(context);
    api::ReportAnnotationsCommandRequest request;
    for (const std::string& message : messages) request.add_annotations()->set_message(message);
    google::protobuf::Empty none;
    EXPECT_TRUE(writer.stub().ReportAnnotations(&context, request, &none).ok());
  };
  const List list = list_of("/api/v1/tasks/" + task_ + "/annotations", "annotations", "message");
  EXPECT_EQ(walk(list, 3), Words());
  report({"c", "a", "c"});
  report({"b", "a"});
  expect_whole_at_any_size(list, {"c", "a", "b"});
  expect_refused(list, {"after=x", "after=-1", "after=1-1"});
  EXPECT_EQ(walk(list, 1, [&] { report({"c", "0"}); }), (Words{"c", "a", "b", "0"}));
}

TEST_F(Pages, OfAnybodysListsAreForWhoMaySeeThem) {
  const std::string reader = token_of_role("reader");
  make_pool("macs");
  EXPECT_EQ(call("GET", "/api/v1/pools?limit=1", "", reader).status, 200);
  EXPECT_EQ(call("GET", "/api/v1/tokens?limit=1", "", reader).status, 403);
  // Not even whether a place is one.
  EXPECT_EQ(call("GET", "/api/v1/tokens?after=x", "", token_of_role("operator")).status, 403);
  EXPECT_EQ(call("GET", "/api/v1/pools?limit=x", "", "-").status, 401);
}

}  // namespace cirrus::controller
