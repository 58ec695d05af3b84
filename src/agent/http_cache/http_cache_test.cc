// SPDX-License-Identifier: MIT
#include "agent/http_cache/http_cache.h"

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "net/http_client.h"
#include "os/temp_dir.h"
#include "rpc/testing/fake_blob_service.h"

namespace cirrus::agent {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HttpCacheTest : public ::testing::Test {
 protected:
  HttpCacheTest() { serve(std::nullopt); }
  void serve(std::optional<uid_t> only_uid) {
    cache_.reset();
    cache_ = std::move(HttpCache::listen({directory_.path(), only_uid}, blobs_)).value();
    EXPECT_TRUE(cache_->start().ok());
  }
  net::HttpResponse send(const std::string& method, const std::string& target,
                         std::string body = {},
                         std::vector<std::pair<std::string, std::string>> headers = {}) {
    net::HttpRequest request;
    request.method = method;
    request.url = "http://" + cache_->host() + target;
    request.body = std::move(body);
    request.headers = std::move(headers);
    Result<net::HttpResponse> response = client_.send(request);
    EXPECT_TRUE(response.ok()) << response.error().to_string();
    return response.ok() ? response.value() : net::HttpResponse{};
  }
  /// A call of the GitHub-style service.
  net::HttpResponse call(const std::string& method, const std::string& route, std::string body = {},
                         std::string range = {}) {
    std::vector<std::pair<std::string, std::string>> headers{
        {"Authorization", "Bearer " + cache_->token().reveal()}};
    if (!range.empty()) headers.emplace_back("Content-Range", range);
    return send(method, "/_apis/artifactcache/" + route, std::move(body), headers);
  }
  std::size_t files_left() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(directory_.path()), {}));
  }

  os::TempDir directory_ = std::move(os::TempDir::create("http-cache")).value();
  rpc::testing::FakeBlobService blobs_;
  std::unique_ptr<HttpCache> cache_;
  net::HttpClient client_;
};

TEST_F(HttpCacheTest, KeepsWhatWasPutUnchanged) {
  const std::string large(3'000'000, 'x');
  for (const auto& [key, body] : {std::pair<std::string, std::string>{"ac/0a1b", "small"},
                                  {"empty", ""},
                                  {"cas/large", large}}) {
    SCOPED_TRACE(key);
    EXPECT_EQ(send("HEAD", "/" + key).status, 404);
    EXPECT_EQ(send("GET", "/" + key).status, 404);
    EXPECT_EQ(send(body.empty() ? "POST" : "PUT", "/" + key, body).status, 201);
    const net::HttpResponse head = send("HEAD", "/" + key);
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.headers.at("content-length"), std::to_string(body.size()));
    const net::HttpResponse got = send("GET", "/" + key);
    EXPECT_EQ(got.status, 200);
    EXPECT_EQ(got.headers.at("content-length"), std::to_string(body.size()));
    EXPECT_TRUE(got.body == body);
    EXPECT_EQ(send("DELETE", "/" + key).status, 204);
    EXPECT_EQ(send("DELETE", "/" + key).status, 404);
  }
  EXPECT_EQ(files_left(), 0U);
}

TEST_F(HttpCacheTest, TakesEscapedKeysAndPlainOnesForTheSame) {
  EXPECT_EQ(send("PUT", "/deps-a%2Fb%20c", "1").status, 201);
  EXPECT_EQ(send("GET", "/deps-a/b%20c").body, "1");
  EXPECT_TRUE(blobs_.state().with([](auto& s) { return s.caches.contains("deps-a/b c"); }));
}

TEST_F(HttpCacheTest, KeysThatAreNoTextStayAsTheyWereSent) {
  EXPECT_EQ(send("PUT", "/caf%E9-%2F", "1").status, 201);
  EXPECT_EQ(send("GET", "/caf%E9-%2F").body, "1");
  EXPECT_TRUE(blobs_.state().with([](auto& s) { return s.caches.contains("caf%E9-%2F"); }));
  // A key of the Actions protocol that decodes to no text is none of its own.
  EXPECT_EQ(send("PUT", "/1-%25FF", "1").status, 201);
  const net::HttpResponse found = call("GET", "cache?version=1&keys=none,");
  EXPECT_EQ(found.status, 200);
  EXPECT_EQ(Json::parse(found.body)["cacheKey"], "\xEF\xBF\xBD");
}

TEST_F(HttpCacheTest, AnswersWhatWebDavClientsAskBeforeTheyWrite) {
  const net::HttpResponse directory = send("PROPFIND", "/sc/2%203/", "<xml/>", {{"Depth", "0"}});
  EXPECT_EQ(directory.status, 207);
  EXPECT_THAT(directory.body, HasSubstr("<D:href>/sc/2%203/</D:href>"));
  EXPECT_THAT(directory.body, HasSubstr("<D:collection/>"));
  EXPECT_THAT(directory.body, HasSubstr("<D:getlastmodified>Thu, 01 Jan 1970 00:00:00 GMT</D:"));
  EXPECT_EQ(send("PROPFIND", "/").status, 207);
  EXPECT_EQ(send("MKCOL", "/sc/").status, 201);
  EXPECT_EQ(send("PROPFIND", "/sc/key").status, 404);
  EXPECT_EQ(send("PUT", "/sc/key", "12345").status, 201);
  const net::HttpResponse key = send("PROPFIND", "/sc/key");
  EXPECT_EQ(key.status, 207);
  EXPECT_THAT(key.body, HasSubstr("<D:getcontentlength>5</D:getcontentlength>"));
}

TEST_F(HttpCacheTest, SaysWhatIsWrong) {
  const struct {
    const char* name;
    const char* method;
    std::string target;
    int status;
    const char* words;
  } cases[] = {
      {"no key", "GET", "/", 400, "a key has 1 to 1024 bytes"},
      {"a long key", "PUT", "/" + std::string(1025, 'k'), 400, "a key has 1 to 1024 bytes"},
      {"a strange method", "PATCH", "/k", 405, "GET, HEAD"},
      {"actions v2", "POST", "/twirp/github.actions.results.api.v1.CacheService/CreateCacheEntry",
       501, "version 2 is not served here"},
      {"azure", "PUT", "/_azureblob/cirrus-runners-cache/k", 501, "Azure"},
      {"tuist", "GET", "/tuist/api/cache/module/1", 501, "Tuist"},
      {"github without its token", "GET", "/_apis/artifactcache/cache?keys=a&version=1", 401,
       "ACTIONS_RUNTIME_TOKEN"},
      {"metrics of others", "GET", "/metrics/resources", 501, "/metrics/cache"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const net::HttpResponse answer = send(c.method, c.target);
    EXPECT_EQ(answer.status, c.status);
    EXPECT_THAT(answer.body, HasSubstr(c.words));
  }
}

TEST_F(HttpCacheTest, IsNotForWebPagesNorForOtherUsers) {
  EXPECT_EQ(send("GET", "/k", "", {{"Origin", "http://evil.example"}}).status, 403);
  EXPECT_EQ(send("GET", "/k", "", {{"Host", "evil.example"}}).status, 403);
  serve(::geteuid());
  EXPECT_EQ(send("PUT", "/k", "1").status, 201);
  if (::geteuid() == 0) return;  // root is served whomever the task belongs to
  serve(::geteuid() + 1);
  EXPECT_EQ(send("GET", "/k").status, 403);
}

TEST_F(HttpCacheTest, AnErrorOfTheStoreIsAMissForReadersAndSaidToWriters) {
  const auto fail_next = [this] {
    blobs_.state().with(
        [](auto& state) { state.failures = {error(Code::Unavailable, "the controller is away")}; });
  };
  fail_next();
  EXPECT_EQ(send("GET", "/k").status, 404);
  fail_next();
  const net::HttpResponse refused = send("PUT", "/k", "1");
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("the controller is away"));
}

TEST_F(HttpCacheTest, CountsTransfers) {
  send("GET", "/k");
  send("PUT", "/k", "12345");
  send("GET", "/k");
  const Json counts =
      Json::parse(send("GET", "/metrics/cache", "", {{"Accept", "application/json"}}).body);
  EXPECT_EQ(counts["hits"], 1);
  EXPECT_EQ(counts["misses"], 1);
  EXPECT_EQ(counts["stored"], 1);
  EXPECT_EQ(counts["bytes_written"], 5);
  EXPECT_EQ(send("DELETE", "/metrics/cache").status, 204);
  EXPECT_THAT(send("GET", "/metrics/cache").body, HasSubstr("hits 0\n"));
}

TEST_F(HttpCacheTest, SpeaksTheFirstActionsCacheProtocol) {
  EXPECT_EQ(call("GET", "cache?keys=deps-1,deps-&version=v%201").status, 204);
  const net::HttpResponse reserved = call("POST", "caches", R"({"key":"deps-1","version":"v 1"})");
  ASSERT_EQ(reserved.status, 201);
  const auto id = Json::parse(reserved.body)["cacheId"].get<std::uint64_t>();
  const std::string upload = "caches/" + std::to_string(id);
  const std::string first(400'000, 'a');
  // Parts come in any order, and again.
  EXPECT_EQ(call("PATCH", upload, "bb", "bytes 400000-400001/*").status, 204);
  EXPECT_EQ(call("POST", upload, R"({"size":400002})").status, 400);  // a part is missing
  EXPECT_EQ(call("PATCH", upload, first, "bytes 0-399999/*").status, 204);
  EXPECT_EQ(call("PATCH", upload, "bb", "bytes 400000-400001/*").status, 204);
  EXPECT_EQ(call("POST", upload, R"({"size":7})").status, 400);
  EXPECT_EQ(call("POST", upload, R"({"size":400002})").status, 201);
  EXPECT_EQ(call("POST", upload, R"({"size":400002})").status, 404);  // it has ended
  EXPECT_EQ(files_left(), 0U);
  for (const char* keys : {"deps-1", "deps-2,deps-"}) {
    SCOPED_TRACE(keys);
    const net::HttpResponse found = call("GET", std::string("cache?version=v%201&keys=") + keys);
    ASSERT_EQ(found.status, 200);
    const Json body = Json::parse(found.body);
    EXPECT_EQ(body["cacheKey"], "deps-1");
    const std::string where = body["archiveLocation"];
    const std::string base = "http://" + cache_->host();
    ASSERT_TRUE(where.starts_with(base));
    EXPECT_TRUE(send("GET", where.substr(base.size())).body == first + "bb");
  }
  EXPECT_EQ(call("GET", "cache?keys=deps-1&version=other").status, 204);
  EXPECT_EQ(call("POST", "caches", R"({"key":"deps-1","version":"v 1"})").status, 409);
}

TEST_F(HttpCacheTest, RefusesBadCallsOfTheActionsProtocol) {
  const net::HttpResponse reserved = call("POST", "caches", R"({"key":"k","version":"1"})");
  const std::string upload =
      "caches/" + std::to_string(Json::parse(reserved.body)["cacheId"].get<std::uint64_t>());
  const struct {
    const char* name;
    const char* method;
    std::string route;
    std::string body;
    std::string range;
    int status;
  } cases[] = {
      {"no keys", "GET", "cache?version=1", "", "", 400},
      {"many keys", "GET", "cache?version=1&keys=1,2,3,4,5,6,7,8,9,10,11", "", "", 400},
      {"no JSON", "POST", "caches", "key", "", 400},
      {"a number as key", "POST", "caches", R"({"key":1,"version":"1"})", "", 400},
      {"a long key", "POST", "caches", R"({"version":"1","key":")" + std::string(513, 'k') + "\"}",
       "", 400},
      {"no range", "PATCH", upload, "x", "", 400},
      {"a wrong range", "PATCH", upload, "x", "bytes 0-1/*", 400},
      {"a range from nowhere", "PATCH", upload, "x", "bytes 99999999999999-99999999999999/*", 400},
      {"no such upload", "PATCH", "caches/1", "x", "bytes 0-0/*", 404},
      {"no number", "PATCH", "caches/x", "x", "bytes 0-0/*", 404},
      {"no size", "POST", upload, "{}", "", 400},
      {"a negative size", "POST", upload, R"({"size":-1})", "", 400},
      {"no such call", "GET", "nothing", "", "", 404},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(call(c.method, c.route, c.body, c.range).status, c.status);
  }
  for (std::size_t i = 1; i < ActionsCache::kMostUploads; ++i) {
    ASSERT_EQ(call("POST", "caches", fmt::format(R"({{"key":"k{}","version":"1"}})", i)).status,
              201);
  }
  EXPECT_EQ(call("POST", "caches", R"({"key":"more","version":"1"})").status, 429);
  cache_.reset();
  EXPECT_EQ(files_left(), 0U);  // what was never committed goes with the task
}

TEST_F(HttpCacheTest, TwoTasksHaveTheirOwn) {
  rpc::testing::FakeBlobService others;
  auto second = std::move(HttpCache::listen({directory_.path(), std::nullopt}, others)).value();
  ASSERT_TRUE(second->start().ok());
  EXPECT_NE(second->host(), cache_->host());
  EXPECT_NE(second->token().reveal(), cache_->token().reveal());
  EXPECT_EQ(send("PUT", "/k", "mine").status, 201);
  EXPECT_TRUE(others.state().with([](auto& s) { return s.caches.empty(); }));
}

}  // namespace
}  // namespace cirrus::agent
