// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "rpc/endpoint.h"
#include "rpc/peer.h"

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

}  // namespace
}  // namespace cirrus::rpc
