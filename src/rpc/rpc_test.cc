// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "rpc/endpoint.h"
#include "rpc/peer.h"
#include "rpc/proxy.h"

namespace cirrus::rpc {
namespace {

TEST(Endpoint, FollowsTheReferencesGrammar) {
  const struct {
    const char* text;
    const char* target;
    bool tls;
  } cases[] = {
      {"http://h:1", "h:1", false},         {"http://h:1/", "h:1", false},
      {"https://h:2", "h:2", true},         {"h:3", "h:3", true},
      {"http://h", "h:443", false},         {"https://h", "h:443", true},
      {"unix:/a/b", "unix:/a/b", false},    {"unix:///a/b", "unix:///a/b", false},
      {"http://[::1]:5", "[::1]:5", false}, {"http://[::1]", "[::1]:443", false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const Result<Endpoint> endpoint = Endpoint::parse(c.text);
    ASSERT_TRUE(endpoint.ok());
    EXPECT_EQ(endpoint.value().target, c.target);
    EXPECT_EQ(endpoint.value().tls, c.tls);
  }
}

TEST(Endpoint, RefusesPathsAndSpaces) {
  for (const char* text : {"", "http://", "http://h:1/x", "https://h:1/a/", "a b:1"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(Endpoint::parse(text).ok());
  }
}

TEST(Features, AnAbsentListIsAReferencePeer) {
  EXPECT_FALSE(Features::parse("").hold());
  EXPECT_TRUE(Features::parse(" hold , x ").hold());
  EXPECT_TRUE(Features::parse(Features::ours().to_string()).log_offsets());
}

TEST(Proxy, FollowsTheUsualVariables) {
  using Variables = std::map<std::string, std::string, std::less<>>;
  const auto proxy = [](const char* endpoint, const Variables& variables) {
    return proxy_for(Endpoint::parse(endpoint).value(), variables);
  };
  const Variables plain{{"HTTPS_PROXY", "http://p:3128"}};
  EXPECT_EQ(proxy("https://ci.example.org:443", plain), "http://p:3128");
  EXPECT_EQ(proxy("http://ci.example.org:80", plain), "http://p:3128");
  EXPECT_EQ(proxy("https://ci.example.org:443", {}), "");
  EXPECT_EQ(proxy("https://ci.example.org:443", {{"https_proxy", "p:3128"}}), "http://p:3128");
  for (const char* direct :
       {"http://localhost:1", "http://127.0.0.5:1", "http://[::1]:1", "unix:/x"}) {
    EXPECT_EQ(proxy(direct, plain), "") << direct;
  }
  const auto exempted = [&](const char* endpoint, const char* rules) {
    return proxy(endpoint, {{"HTTPS_PROXY", "http://p:3128"}, {"NO_PROXY", rules}}).empty();
  };
  EXPECT_TRUE(exempted("https://ci.example.org", "other, example.org"));
  EXPECT_TRUE(exempted("https://ci.example.org", ".example.org"));
  EXPECT_TRUE(exempted("https://ci.example.org", "*"));
  EXPECT_TRUE(exempted("https://10.1.2.3:7470", "10.0.0.0/8"));
  EXPECT_TRUE(exempted("https://ci.example.org:7470", "ci.example.org:7470"));
  EXPECT_FALSE(exempted("https://ci.example.org:7471", "ci.example.org:7470"));
  EXPECT_FALSE(exempted("https://notexample.org", "example.org"));
  EXPECT_FALSE(exempted("https://11.1.2.3", "10.0.0.0/8"));
  EXPECT_FALSE(exempted("https://ci.example.org", ""));
}

}  // namespace
}  // namespace cirrus::rpc
